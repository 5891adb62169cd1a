// What if: experts off, alone, with equal weights or with another speaker's; decoded again in place.

import { attempt, decimal, el, fill, option, percent, say } from "./elements.js";
import { fact } from "./view_file.js";

export function whatIfView(app, panel) {
  const state = new Map(app.layers.map((layer) => [layer.name, { off: new Set(), from: "" }]));
  restore(app.settings.off, app.settings.weights, state);
  const result = el("div", { "aria-live": "polite" });
  const place = el("div");
  let switches = null;
  const reference = el("input", { type: "text", size: 48, value: app.settings.text ?? "", onchange: () => update() });

  /** The switches of the layer that is shown. */
  const draw = () => {
    if (switches?.name === (app.layer ?? "")) return switches;
    switches = new Switches(app, state, () => update());
    fill(place, switches.element);
    return switches;
  };
  const update = () => attempt(async () => {
    app.remember({ ...addressOf(state), text: reference.value.trim() });
    draw().show(null);
    if (!app.recording) return;
    say("Decoding again …");
    const view = { changes: changesOf(state), compare: app.inspection.transcript.phonemes.join(" "), reference: reference.value };
    const plain = { reference: reference.value };
    const before = reference.value.trim() && !app.inspection.reference ? await app.inspect(plain) : app.inspection;
    const after = await app.inspect(view);
    const changed = new Set((after.comparison?.changes ?? []).filter((c) => c.kind !== "same" && c.segment !== null).map((c) => c.segment));
    app.timeline.show(after, app.server.expert_colours, changed);
    fill(result, difference(before, after));
    draw().show(after);
    const lost = (after.comparison?.changes ?? []).filter((c) => c.kind === "deleted").length;
    say(changed.size + lost ? `${changed.size + lost} phonemes changed.` : "No phoneme changed.");
  });

  fill(panel,
    el("div", { className: "panels" },
      el("div", {}, place,
        el("div", { className: "controls" },
          el("button", { type: "button", textContent: "Undo all", onclick: () => {
            for (const layer of state.values()) { layer.off.clear(); layer.from = ""; }
            update();
          } }))),
      el("div", {},
        el("label", { className: "field" }, "Reference (phonemes, or words if the server has a dictionary)", reference),
        result)));
  draw();
  return {
    recorded: () => {
      if (app.example?.phonemes && !app.settings.text) reference.value = app.example.phonemes;
      update();
    },
  };
}

/**
 * Switches of the experts of the layer that is shown. They are made once and then changed in place,
 * so that no click and no focus is lost while a recording is decoded again.
 */
class Switches {
  constructor(app, state, update) {
    this.app = app;
    this.name = app.layer ?? "";
    this.state = state;
    this.layer = app.layers.find((one) => one.name === this.name);
    this.others = el("p", { className: "hint" });
    this.rows = this.layer.experts.map((expert, index) => this.row(expert, index, update));
    this.weights = el("select", { onchange: (event) => { this.chosen.from = event.target.value; update(); } },
      option("", "of the router"), option("uniform", "equal"), app.run.speakers.map((speaker) => option(speaker, `mean of ${speaker}`)));
    this.element = this.layer.experts.length < 2
      ? el("p", { textContent: "This run has a single expert: there is nothing to take away." })
      : el("div", {},
        el("h3", { textContent: this.name ? `Experts of ${this.name}` : "Experts" }), this.others,
        el("div", { className: "scroll" }, el("table", { className: "experts" }, el("tbody", {}, this.rows.map((row) => row.element)))),
        el("div", { className: "controls" }, el("label", { className: "field" }, "Weights", this.weights)));
    this.show(null);
  }

  get chosen() { return this.state.get(this.name); }

  row(expert, index, update) {
    const colour = this.app.server.expert_colours[index % this.app.server.expert_colours.length];
    const bar = el("i", { style: { background: colour } });
    const mark = el("b");
    const share = el("td");
    const toggle = el("button", { type: "button", className: "small", onclick: () => {
      const { off } = this.chosen;
      if (off.has(expert)) off.delete(expert);
      else off.add(expert);
      update();
    } });
    const alone = el("button", { type: "button", className: "small", textContent: "alone", "aria-label": `${expert} alone`, onclick: () => {
      const others = this.layer.experts.filter((one) => one !== expert);
      this.chosen.off = new Set(this.isAlone(expert) ? [] : others);
      update();
    } });
    const element = el("tr", {},
      el("th", { scope: "row" }, el("i", { className: "swatch", style: { background: colour } }), expert),
      el("td", {}, el("span", { className: "bar" }, bar, mark)), share, el("td", {}, toggle), el("td", {}, alone));
    return { expert, element, bar, mark, share, toggle, alone };
  }

  isAlone(expert) {
    const { off } = this.chosen;
    return !off.has(expert) && this.layer.experts.length - off.size === 1;
  }

  /** Shows what is chosen, and the weights before and after it; `after` is null while it is decoded. */
  show(after) {
    const others = [...this.state].filter(([name, one]) => name !== this.name && (one.off.size || one.from)).map(([name]) => name);
    this.others.textContent = others.length ? `Also changed: ${others.join(", ")}.` : "";
    this.weights.value = this.chosen.from;
    const before = this.app.inspection?.layer === this.name ? this.app.inspection.routing : {};
    const now = after?.layer === this.name ? after.routing : null;
    for (const { expert, bar, mark, share, toggle, alone } of this.rows) {
      const [old, current] = [before[expert] ?? 0, now?.[expert] ?? before[expert] ?? 0];
      bar.style.width = `${100 * current}%`;
      mark.style.left = `calc(${100 * old}% - 1px)`;
      share.textContent = now ? `${percent(old)} → ${percent(current)}` : percent(old);
      const isOff = this.chosen.off.has(expert);
      toggle.textContent = isOff ? "off" : "on";
      toggle.setAttribute("aria-pressed", String(!isOff));
      toggle.setAttribute("aria-label", `${expert} ${isOff ? "is off" : "is on"}`);
      toggle.disabled = this.isAlone(expert);
      alone.setAttribute("aria-pressed", String(this.isAlone(expert)));
    }
  }
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
    facts.push(fact("errors against the reference",
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
