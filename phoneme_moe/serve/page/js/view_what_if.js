// What if: experts off, alone, with equal weights or with another speaker's; decoded again in place.

import { attempt, decimal, el, fill, option, percent, say } from "./elements.js";
import { fact } from "./view_file.js";

export function whatIfView(app, panel) {
  const state = new Map(app.layers.map((layer) => [layer.name, { off: new Set(), from: "" }]));
  restore(app.settings.off, app.settings.weights, state);
  const result = el("div", { "aria-live": "polite" });
  const switches = el("div");
  const reference = el("input", { type: "text", size: 48, value: app.settings.text ?? "", onchange: () => update() });

  const draw = () => fill(switches, layerSwitches(app, state, update));
  const update = () => attempt(async () => {
    app.remember({ ...addressOf(state), text: reference.value.trim() });
    draw();
    if (!app.recording) return;
    say("Decoding again …");
    const view = { changes: changesOf(state), compare: app.inspection.transcript.phonemes.join(" "), reference: reference.value };
    const plain = { reference: reference.value };
    const before = reference.value.trim() && !app.inspection.reference ? await app.inspect(plain) : app.inspection;
    const after = await app.inspect(view);
    const changed = new Set((after.comparison?.changes ?? []).filter((c) => c.kind !== "same" && c.segment !== null).map((c) => c.segment));
    app.timeline.show(after, app.server.expert_colours, changed);
    fill(result, difference(before, after));
    fill(switches, layerSwitches(app, state, update, after));
    const lost = (after.comparison?.changes ?? []).filter((c) => c.kind === "deleted").length;
    say(changed.size + lost ? `${changed.size + lost} phonemes changed.` : "No phoneme changed.");
  });

  fill(panel,
    el("div", { className: "panels" },
      el("div", {}, switches,
        el("div", { className: "controls" },
          el("button", { type: "button", textContent: "Undo all", onclick: () => {
            for (const layer of state.values()) { layer.off.clear(); layer.from = ""; }
            update();
          } }))),
      el("div", {},
        el("label", { className: "field" }, "What was said (phonemes, or words if the server has a dictionary)", reference),
        result)));
  draw();
  return {
    recorded: () => {
      if (app.example?.phonemes && !app.settings.text) reference.value = app.example.phonemes;
      update();
    },
  };
}

function layerSwitches(app, state, update, after = null) {
  const name = app.layer ?? "";
  const layer = app.layers.find((one) => one.name === name);
  if (layer.experts.length < 2) return el("p", { textContent: "This run has a single expert: there is nothing to take away." });
  const chosen = state.get(name);
  const others = [...state].filter(([other, one]) => other !== name && (one.off.size || one.from)).map(([other]) => other);
  const before = app.inspection?.layer === name ? app.inspection.routing : {};
  const now = after?.layer === name ? after.routing : null;
  const left = layer.experts.length - chosen.off.size;
  const rows = layer.experts.map((expert, index) => {
    const isOff = chosen.off.has(expert);
    const alone = !isOff && left === 1;
    const colour = app.server.expert_colours[index % app.server.expert_colours.length];
    return el("tr", {},
      el("th", { scope: "row" }, el("i", { className: "swatch", style: { background: colour } }), expert),
      el("td", {}, bar(before[expert] ?? 0, now?.[expert] ?? before[expert] ?? 0, colour)),
      el("td", { textContent: now ? `${percent(before[expert] ?? 0)} → ${percent(now[expert] ?? 0)}` : percent(before[expert] ?? 0) }),
      el("td", {}, el("button", {
        type: "button", className: "small", textContent: isOff ? "off" : "on", "aria-pressed": String(!isOff), "aria-label": `${expert} ${isOff ? "is off" : "is on"}`,
        disabled: alone, onclick: () => { if (isOff) chosen.off.delete(expert); else chosen.off.add(expert); update(); },
      })),
      el("td", {}, el("button", {
        type: "button", className: "small", textContent: "alone", "aria-pressed": String(alone), "aria-label": `${expert} alone`,
        onclick: () => { chosen.off = new Set(alone ? [] : layer.experts.filter((one) => one !== expert)); update(); },
      })));
  });
  const weights = el("select", { onchange: (event) => { chosen.from = event.target.value; update(); } },
    option("", "of the router"), option("uniform", "equal"), app.run.speakers.map((speaker) => option(speaker, `mean of ${speaker}`)));
  weights.value = chosen.from;
  return [
    el("h3", { textContent: name ? `Experts of ${name}` : "Experts" }),
    others.length ? el("p", { className: "hint", textContent: `Also changed: ${others.join(", ")}.` }) : "",
    el("div", { className: "scroll" }, el("table", { className: "experts" }, el("tbody", {}, rows))),
    el("div", { className: "controls" }, el("label", { className: "field" }, "Weights", weights)),
  ];
}

function bar(before, after, colour) {
  return el("span", { className: "bar" },
    el("i", { style: { width: `${100 * after}%`, background: colour } }),
    el("b", { style: { left: `calc(${100 * before}% - 1px)` } }));
}

function difference(before, after) {
  const { comparison, reference } = after;
  const own = before.log_probability;
  const then = comparison?.log_probability;
  const facts = [];
  if (own !== null && comparison) {
    facts.push(fact("log-probability of the first transcript",
      then === null || then === undefined ? `${decimal(own)} → impossible` : `${decimal(own)} → ${decimal(then)} (${then - own >= 0.05 ? "+" : ""}${decimal(then - own)})`));
  }
  if (reference && before.reference) {
    const [old, now] = [before.reference, reference];
    facts.push(fact("errors against what was said",
      `${old.errors} → ${now.errors} of ${reference.phonemes.length} (${percent(old.error_rate)} → ${percent(now.error_rate)})`));
  }
  return [
    el("dl", { className: "numbers" }, facts),
    el("h3", { textContent: "What changed" }),
    el("p", { className: "transcripts" }, comparison ? comparison.changes.flatMap(marked) : after.transcript.phonemes.join(" ")),
  ];
}

export function marked(change) {
  const { kind, before, after } = change;
  if (kind === "same") return [after, " "];
  if (kind === "inserted") return [el("ins", { textContent: after, title: "inserted" }), " "];
  if (kind === "deleted") return [el("del", { textContent: before, title: "deleted" }), " "];
  return [el("mark", { textContent: `${before}→${after}`, title: "substituted" }), " "];
}

/** Changes as the server takes them: one for each layer that has any. */
function changesOf(state) {
  return [...state].filter(([, { off, from }]) => off.size || from).map(([layer, { off, from }]) => ({
    layer: layer || null, without_expert: off.size ? [...off].join(",") : null, gate_from: from || null,
  }));
}

function addressOf(state) {
  const off = [...state].filter(([, one]) => one.off.size).map(([layer, one]) => `${layer}:${[...one.off].join("+")}`).join(" ");
  const weights = [...state].filter(([, one]) => one.from).map(([layer, one]) => `${layer}:${one.from}`).join(" ");
  return { off, weights };
}

function restore(off = "", weights = "", state) {
  for (const part of off.split(" ").filter(Boolean)) {
    const [layer, names] = part.split(":");
    if (state.has(layer) && names) state.get(layer).off = new Set(names.split("+"));
  }
  for (const part of weights.split(" ").filter(Boolean)) {
    const [layer, from] = part.split(":");
    if (state.has(layer)) state.get(layer).from = from;
  }
}
