// The HTTP interface as a page, from the server's OpenAPI document.

import { byId, el, fill } from "./elements.js";

const document_ = await (await fetch("/openapi.json")).json();

/** A type in a few words: string or null, TranscriptDocument ... */
function typeOf(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "any";
}

/** Docstrings without their marks. */
const plain = (text) => text.replaceAll("`", "");

function table(head, rows) {
  return el("div", { className: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { className: "left", scope: "col", textContent: text })))),
    el("tbody", {}, rows.map(([name, ...cells]) => el("tr", {},
      el("th", { scope: "row" }, el("code", { textContent: name })), cells.map((text) => el("td", { className: "prose", textContent: plain(text) })))))));
}

function operation(path, method, { summary, description, parameters = [], requestBody, responses }) {
  const bodies = Object.keys(requestBody?.content ?? {}).join(", ");
  return el("section", {},
    el("h3", {}, el("code", { textContent: `${method.toUpperCase()} ${path}` })),
    el("p", { textContent: plain(description ?? summary) }),
    bodies ? el("p", { className: "hint", textContent: `Body: ${bodies}` }) : "",
    parameters.length ? table(["parameter", "type", "meaning"], parameters.map((one) =>
      [one.name, typeOf(one.schema), one.description ?? one.schema.description ?? ""])) : "",
    table(["status", "answer", "meaning"], Object.entries(responses).map(([status, one]) =>
      [status, typeOf(Object.values(one.content ?? {})[0]?.schema), one.description])));
}

const operations = Object.entries(document_.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, given]) => [given.tags?.[0] ?? "public", operation(path, method, given)]));
const schemas = Object.entries(document_.components.schemas).filter(([, schema]) => schema.properties).map(([name, schema]) =>
  el("section", { id: name }, el("h3", { textContent: name }), el("p", { textContent: plain(schema.description ?? "") }),
    table(["key", "type", "meaning"], Object.entries(schema.properties).map(([key, one]) => [key, typeOf(one), one.description ?? ""]))));
fill(byId("content"),
  el("h2", { textContent: "For programs" }), operations.filter(([tag]) => tag === "public").map(([, section]) => section),
  el("p", { textContent: "WS /v1/listen?run=NAME&rate=16000&samples=s16le takes samples of one channel and sends JSON events: ready, steps, end, error. The text end ends it." }),
  el("h2", { textContent: "What the page uses, too" }), operations.filter(([tag]) => tag === "page").map(([, section]) => section),
  el("h2", { textContent: "Documents" }), schemas);
