/* Draws the plots as they scroll into view, then the rest, in the current theme, and handles filter and switch.
   Data for this script are in the tags of the models (plots.py). */
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");
const parse = (id) => JSON.parse(document.getElementById(id).textContent);
const ramps = parse("ramps");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plots = new Map(); // id -> {root, models, view}
const filter = {kept: null, text: "", setting: "raw"};

Bokeh.logger.set_level("error");

/* All models with data in their tags under a key. */
function tagged(models, key, use) {
  for (const model of models)
    for (const tag of model.tags ?? [])
      if (tag && tag[key] !== undefined) use(model, tag[key]);
}

/* Sets colours from the CSS variables of the theme. */
function paint(models) {
  const ramp = ramps[dark.matches ? "dark" : "light"];
  const papers = ramp.map(([paper]) => paper);
  tagged(models, "colours", (model, names) => {
    for (const [property, name] of Object.entries(names)) model[property] = css(name);
  });
  tagged(models, "glyph_colours", (model, names) => {
    for (const [property, name] of Object.entries(names)) model[property] = {value: css(name)};
  });
  tagged(models, "ramp", (model) => { model.palette = papers; });
  tagged(models, "sound", (model) => { model.palette = papers; });
  for (const model of models) if (model.name === "cells") write(model);
}

/* The numbers in the cells of a heat map, in a legible text colour. */
function write(source) {
  const data = new Map(Object.entries(columns(source)));
  if (!data.has("text")) return;
  const ramp = ramps[dark.matches ? "dark" : "light"];
  const weights = Array.from(data.get("weight"));
  const shades = weights.map((w) => shade(w, source));
  put(source, {
    text: weights.map((w) => (Number.isNaN(w) ? "" : `${Math.round(100 * w)}`)),
    ink: weights.map((w, i) => (Math.round(100 * w) < 1 ? css("--strong-line") : ramp[shades[i] || 0][1])),
  });
}

/* Weight in whole per cent of the end of the colour scale. */
function shade(weight, source) {
  const {top} = source.tags.find((tag) => tag.top !== undefined);
  return Math.max(0, Math.min(100, Math.round((100 * weight) / top)));
}

function columns(source) {
  return source.data instanceof Map ? Object.fromEntries(source.data) : {...source.data};
}

function put(source, changed) {
  source.data = {...columns(source), ...changed};
}

/* Data columns with a name or a number per row or column of a heat map. */
function look_up(models) {
  tagged(models, "lookups", (source, wanted) => {
    const data = columns(source), made = {};
    const entries = wanted instanceof Map ? [...wanted] : Object.entries(wanted);
    for (const [name, how] of entries) {
      const {by, of} = how instanceof Map ? Object.fromEntries(how) : how;
      made[name] = Array.from(data[by], (i) => of[i]);
    }
    put(source, made);
  });
}

/* A name for an axis, never parsed as TeX, for which Bokeh would load another script. On a narrow screen a
   long name of several words has two lines. */
function axis_name(name) {
  const longest = narrow.matches ? 13 : 22;
  const text = name.replace(/\$\$|\\\[|\\\(/g, (mark) => `${mark[0]}\u2060${mark[1]}`);
  const cut = (line) => {
    const letters = [...line];
    if (letters.length <= longest) return line;
    // Speakers of several corpora differ in what comes after the name of the corpus.
    if (line.includes("/")) return `…${letters.slice(1 - longest).join("")}`;
    return `${letters.slice(0, longest - 1).join("")}…`;
  };
  const space = text.length > longest ? text.indexOf(" ") : -1;
  if (!narrow.matches || space < 0) return cut(text);
  return `${cut(text.slice(0, space))}\n${cut(text.slice(space + 1))}`;
}

/* Moves row names with their rows, and makes room for the cells on a narrow screen. */
function lay_out(id) {
  const {models} = plots.get(id);
  const place = places(id);
  tagged(models, "names", (axis, names) => {
    const named = new Map(), ticks = [];
    names.forEach((name, row) => {
      const y = place ? place[row] : row + 0.5;
      if (y === null) return;
      named.set(y, axis_name(name));
      ticks.push(y);
    });
    axis.ticker.ticks = ticks;
    axis.major_label_overrides = named;
  });
  tagged(models, "heat", (plot, heat) => {
    const rows = place ? place.filter((y) => y !== null).length : null;
    if (!plot.full) plot.full = {end: plot.x_range.end, rows: plot.y_range.start};
    plot.x_range.end = narrow.matches ? heat.columns : plot.full.end;
    const turned = narrow.matches && heat.narrow !== heat.rest;
    if (heat.narrow !== heat.rest) plot.above[0].major_label_orientation = turned ? "vertical" : "horizontal";
    const shown = rows ?? plot.full.rows;
    plot.y_range.start = Math.max(1, shown);
    plot.height = Math.max(1, shown) * heat.row + (turned ? heat.narrow : heat.rest);
    document.getElementById(id).style.minHeight = `${plot.height}px`;
    for (const renderer of plot.renderers) if (renderer.name === "tree") renderer.visible = rows === null;
  });
}

/* Position of each speaker's row, null if filtered out; no list without a filter. */
function places(id) {
  if (id !== "heat-speakers" || filter.text === "") return null;
  let next = 0.5;
  return filter.kept.map((kept) => (kept ? next++ : null));
}

/* The parts of the speaker heat map that follow filter and switch. */
function arrange() {
  const plot = plots.get("heat-speakers");
  if (!plot) return;
  const place = places("heat-speakers");
  for (const source of plot.models) {
    if (source.type !== "ColumnDataSource") continue;
    const data = columns(source);
    if (!data.row) continue;
    const changed = {y: Float64Array.from(data.row, (row) => (place ? place[row] ?? NaN : row + 0.5))};
    if (data.weight_raw) changed.weight = data[`weight_${filter.setting}`].slice();
    put(source, changed);
    if (source.name === "cells") write(source);
  }
  lay_out("heat-speakers");
}

/* Draws a plot once; the promise of its view. */
const drawings = new Map();
function draw(element) {
  if (!drawings.has(element.id)) drawings.set(element.id, make(element));
  return drawings.get(element.id);
}

async function make(element) {
  const id = element.id;
  const doc = Bokeh.require("document/document").Document.from_json(parse(`${id}-data`));
  const [root] = doc.roots();
  const entry = {root, models: [...root.references()], view: null};
  plots.set(id, entry);
  look_up(entry.models);
  paint(entry.models);
  lay_out(id);
  if (id === "heat-speakers") arrange();
  if (id === "heat-phonemes") cross();
  link(entry.models);
  const views = await Bokeh.embed.add_document_standalone(doc, element);
  entry.view = views.get(root) ?? [...views][0];
  skip(element);
  element.dataset.drawn = "";
  element.dispatchEvent(new CustomEvent("drawn", {detail: entry}));
  return entry.view;
}

/* Opens the clips of a cell that is clicked; of phonemes, those of the chosen speaker. */
function link(models) {
  tagged(models, "clips", (source, clips) => {
    source.selected.properties.indices.change.connect(() => {
      const [index] = source.selected.indices;
      if (index === undefined) return;
      source.selected.indices = [];
      if (!clips[index]) return;
      const chosen = crossing?.selectedOptions[0];
      const also = clips[index].includes("#phoneme") && chosen && Number(chosen.value) >= 0;
      const speaker = also ? encodeURIComponent(` speaker="${chosen.textContent}"`) : "";
      open(clips[index] + speaker, "clips");
    });
  });
}

/* Takes plots out of the tab order, since their values are in the tables. */
function skip(node) {
  if (node.tabIndex === 0) node.tabIndex = -1;
  for (const child of [...(node.shadowRoot?.children ?? []), ...node.children]) skip(child);
}

/* Filter of speakers, for the figure and the tables. */
const search = document.getElementById("speaker-filter");
search?.addEventListener("input", () => {
  filter.text = search.value.trim().toLocaleLowerCase();
  const keeps = (name) => name.toLocaleLowerCase().includes(filter.text);
  let shown = 0;
  for (const table of document.querySelectorAll("table[data-filterable]"))
    for (const row of table.tBodies[0].rows) {
      row.hidden = !keeps(row.cells[0].textContent);
      if (table.id === "numbers" && !row.hidden) shown += 1;
    }
  const rows = [...document.getElementById("numbers").tBodies[0].rows];
  filter.kept = rows.map((row) => !row.hidden);
  const count = document.getElementById("speaker-count");
  count.textContent = `${shown} of ${count.dataset.total} shown`;
  arrange();
});
for (const radio of document.querySelectorAll("#adjusting input"))
  radio.addEventListener("change", () => { filter.setting = radio.value; arrange(); });

/* Phonemes of one speaker: bytes 0..254 are weights, 255 is a phoneme not spoken. */
const crossing = document.getElementById("crossing");
function cross() {
  const plot = plots.get("heat-phonemes");
  if (!crossing || !plot) return;
  const source = plot.models.find((model) => model.name === "cells");
  const all = (plot.all ??= columns(source).weight.slice());
  const speaker = Number(crossing.value);
  let weights = all;
  if (speaker >= 0) {
    crossing.bytes ??= Uint8Array.from(atob(parse("crossing-data")), (c) => c.charCodeAt(0));
    const levels = crossing.bytes.subarray(speaker * all.length, (speaker + 1) * all.length);
    weights = Float64Array.from(levels, (byte) => (byte === 255 ? NaN : byte / 254));
  }
  put(source, {weight: weights});
  write(source);
  const table = document.getElementById("phoneme-table");
  const width = Math.max(...columns(source).column) + 1;
  [...table.tBodies[0].rows].forEach((row, i) => {
    for (let j = 0; j < width; j++) {
      const cell = row.cells[j + 1], weight = weights[i * width + j];
      cell.dataset.all ??= cell.textContent;
      const text = Number.isNaN(weight) ? "–" : (100 * weight).toFixed(1);
      cell.textContent = speaker < 0 ? cell.dataset.all : text;
      cell.className = Number.isNaN(weight) ? "" : `w${shade(weight, source)}`;
    }
  });
  const name = crossing.selectedOptions[0].textContent;
  table.caption.firstElementChild.textContent = `Mean gate weight in %, ${name}`;
}
crossing?.addEventListener("change", cross);

/* Shows the chosen panel. */
for (const select of document.querySelectorAll("select[data-choose]"))
  select.addEventListener("change", () => {
    for (const option of select.options) {
      const panel = document.getElementById(`${select.dataset.choose}-panel-${option.value}`);
      panel.hidden = !option.selected;
      if (panel.hidden) for (const audio of panel.querySelectorAll("audio")) audio.pause();
    }
  });

dark.addEventListener("change", () => {
  for (const entry of plots.values()) if (entry) paint(entry.models);
});
narrow.addEventListener("change", () => {
  for (const [id, entry] of plots) if (entry) lay_out(id);
});
const watch = new IntersectionObserver((seen) => {
  for (const {isIntersecting, target} of seen)
    if (isIntersecting) { watch.unobserve(target); draw(target); }
}, {rootMargin: "500px"});
for (const element of document.querySelectorAll("[data-plot]")) watch.observe(element);
/* Draws the other plots while nothing else is to do: Chromium prints a canvas as it was before it
   began to print, whatever is drawn then. */
const idle = window.requestIdleCallback ?? ((task) => setTimeout(task, 50));
const shown = () => [...document.querySelectorAll("[data-plot]")].filter((plot) => !plot.closest("[hidden]"));
function draw_rest() {
  const next = shown().find((element) => !drawings.has(element.id));
  if (next) idle(() => draw(next).then(draw_rest), {timeout: 200});
}
addEventListener("load", draw_rest);

/* On paper, plots keep the layout of the screen at the width of the text. */
const PAPER = 680;
addEventListener("beforeprint", () => {
  for (const element of shown()) element.style.setProperty("--on-paper", Math.min(1, PAPER / element.clientWidth));
});

/* Marks the current section in the contents. */
const links = [...document.querySelectorAll(".contents a")];
let waiting = false;
function mark() {
  waiting = false;
  const above = links.filter((a) => document.getElementById(a.hash.slice(1)).getBoundingClientRect().top < innerHeight * 0.35);
  for (const link of links)
    if (link === above.at(-1)) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  // On a narrow screen the contents scroll along.
  const bar = document.querySelector(".contents ol"), current = above.at(-1)?.parentElement;
  if (bar && current) bar.scrollLeft = current.offsetLeft - (bar.clientWidth - current.offsetWidth) / 2;
}
addEventListener("scroll", () => {
  if (!waiting) requestAnimationFrame(mark);
  waiting = true;
}, {passive: true});
