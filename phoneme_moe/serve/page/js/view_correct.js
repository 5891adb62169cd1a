// Correct: phonemes and boundaries edited by a person, saved, and taught to the run.

import { jobDone, postLabelled } from "./api.js";
import { attempt, decimal, download, el, fill, option, percent, say } from "./elements.js";

const LEAST = 0.01; // seconds of the shortest phoneme
const EDITED = 4; // seconds on the screen: edges must be wide enough apart to be caught

/** Corrected utterances of this visit; they outlive the view, not the page. */
const collected = [];

export function correctView(app, panel) {
  let segments = [];
  const editor = el("div", { className: "editor" });
  const list = el("div");
  const outcome = el("div", { "aria-live": "polite" });
  const speaker = el("input", { type: "text", size: 12, value: "me", pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]*" });
  const method = el("select", {}, option("gate", "train the gate"), option("expert", "add an expert, then train the gate"));

  const moved = (event) => {
    const { index, start, end } = event.detail;
    setEdges(index, start, end);
    refresh(index);
  };
  const selected = (event) => drawEditor(event.detail);
  app.timeline.addEventListener("moved", moved);
  app.timeline.addEventListener("selected", selected);

  /** Moves edges of a phoneme; neighbours give way, and none becomes empty. */
  function setEdges(index, start, end) {
    const [before, segment, after] = [segments[index - 1], segments[index], segments[index + 1]];
    const first = before ? before.start + LEAST : 0;
    const last = after ? after.end - LEAST : app.timeline.wave.getDuration();
    segment.start = Math.min(Math.max(start, first), last - LEAST);
    segment.end = Math.max(Math.min(end, last), segment.start + LEAST);
    if (before && before.end > segment.start) before.end = segment.start;
    if (after && after.start < segment.end) after.start = segment.end;
  }

  function refresh(index) {
    app.timeline.edit(segments);
    app.timeline.selected = index;
    app.timeline.draw();
    drawEditor(index);
  }

  function drawEditor(index) {
    const segment = segments[index];
    if (!segment) {
      fill(editor, el("span", { textContent: segments.length ? "Choose a phoneme, then change its symbol, its times, or drag its edges." : "There is no phoneme yet." }),
        el("button", { type: "button", textContent: "Add a phoneme", onclick: () => insert(segments.length - 1) }));
      return;
    }
    const time = (label, value, change) => el("label", {}, label, el("input", {
      type: "number", min: "0", step: "0.01", value: value.toFixed(3), onchange: (event) => { change(Number(event.target.value)); refresh(index); },
    }));
    const symbol = el("select", { onchange: (event) => { segment.phoneme = event.target.value; refresh(index); } }, app.run.phonemes.map((phoneme) => option(phoneme)));
    symbol.value = segment.phoneme;
    fill(editor,
      el("label", {}, "phoneme", symbol),
      time("start, s", segment.start, (value) => setEdges(index, value, segment.end)),
      time("end, s", segment.end, (value) => setEdges(index, segment.start, value)),
      button("Play", () => app.timeline.play(segment.start, segment.end)),
      button("Delete", () => { segments.splice(index, 1); refresh(Math.min(index, segments.length - 1)); }),
      button("Split", () => {
        const middle = (segment.start + segment.end) / 2;
        segments.splice(index + 1, 0, { ...segment, start: middle });
        segment.end = middle;
        refresh(index + 1);
      }),
      button("Add after", () => insert(index)));
  }

  /** A new phoneme after one, in the gap behind it or in its second half. */
  function insert(index) {
    const before = segments[index];
    const next = segments[index + 1]?.start ?? app.timeline.wave.getDuration();
    let start = before?.end ?? 0;
    if (next - start < 2 * LEAST && before) {
      start = (before.start + before.end) / 2;
      before.end = start;
    }
    const end = Math.min(next, start + 0.1);
    segments.splice(index + 1, 0, { phoneme: app.run.phonemes[0], start, end: Math.max(end, start + LEAST), confidence: 1, experts: {} });
    refresh(index + 1);
  }

  const current = () => ({ blob: app.recording.blob, name: app.recording.name, segments: structuredClone(segments) });
  const query = () => ({ run: app.run.name, speaker: speaker.value });

  function drawList() {
    fill(list,
      el("h3", { textContent: `Your labelled speech: ${collected.length} utterance${collected.length === 1 ? "" : "s"}` }),
      el("ul", {}, collected.map((one, index) => el("li", {}, `${one.name}: ${one.segments.map((s) => s.phoneme).join(" ")} `,
        el("button", { type: "button", className: "small", textContent: "Remove", "aria-label": `Remove ${one.name}`, onclick: () => { collected.splice(index, 1); drawList(); } })))),
      el("div", { className: "controls" },
        el("label", { className: "field" }, "Speaker", speaker),
        button("Download as a folder for adapt (ZIP)", async () => {
          const response = await postLabelled("/v1/labelled", query(), collected);
          download(await response.blob(), `${speaker.value}.zip`);
        }, collected.length === 0),
        app.server.keeps ? button("Save on the server", async () => {
          const saved = await (await postLabelled("/v1/labelled", { ...query(), to: "folder" }, collected)).json();
          say(`${saved.utterances} utterances saved in ${saved.folder}.`);
        }, collected.length === 0) : ""),
      app.run.adapts ? el("div", { className: "controls" },
        el("label", { className: "field" }, "Adapt the run to this voice:", method),
        el("button", { type: "button", className: "main", textContent: "Adapt", disabled: collected.length < 3, onclick: () => attempt(adapt) }),
        collected.length < 3 ? el("span", { className: "hint", textContent: "It takes three utterances or more; every third is held out to measure." }) : "")
        : el("p", { className: "hint", textContent: "This run has no gate to train, so it cannot be adapted here; the folder serves phoneme-moe grow." }));
  }

  async function adapt() {
    fill(outcome, el("p", { textContent: "Adapting …" }));
    const started = await (await postLabelled("/v1/adapt", { ...query(), method: method.value }, collected)).json();
    try {
      const { result } = await jobDone(started, (stage) => fill(outcome, el("p", { textContent: `${stage} …` })));
      await app.addRun(result.run);
      fill(outcome, ...report(result));
    } catch (error) {
      fill(outcome);
      throw error;
    }
  }

  fill(panel,
    editor,
    el("div", { className: "controls" },
      button("Download as TextGrid", async () => {
        const response = await postLabelled("/v1/format/textgrid", { run: app.run.name }, [current()]);
        download(await response.blob(), app.recording.name.replace(/\.[^.]*$/, "") + ".TextGrid");
      }),
      el("button", { type: "button", className: "main", textContent: "Add to my labelled speech", onclick: () => attempt(async () => {
        if (!app.recording || !segments.length) throw new Error("There is no labelled recording yet.");
        const same = collected.findIndex((one) => one.blob === app.recording.blob);
        if (same >= 0) collected.splice(same, 1);
        collected.push(current());
        drawList();
        say(`${app.recording.name} is labelled; ${collected.length} in all.`);
      }) })),
    list, outcome);
  drawEditor(-1);
  drawList();
  return {
    recorded: () => {
      segments = app.inspection.transcript.segments.map((segment) => ({ ...segment }));
      app.timeline.edit(segments);
      app.timeline.zoomTo(EDITED);
      drawEditor(-1);
    },
    leave: () => {
      if (app.recording) app.timeline.zoom(0);
      app.timeline.removeEventListener("moved", moved);
      app.timeline.removeEventListener("selected", selected);
    },
  };

  function button(text, work, disabled = false) {
    return el("button", { type: "button", textContent: text, disabled, onclick: () => attempt(work) });
  }
}

function report(result) {
  const [low, high] = result.interval.map((value) => decimal(100 * value));
  const change = 100 * (result.after - result.before);
  return [
    el("h3", { textContent: `${result.speaker}: ${percent(result.before)} errors before, ${percent(result.after)} after` }),
    el("p", { textContent: `Measured on ${result.held_out} held-out utterances, trained on ${result.learned}: a change of ${decimal(change)} points (95 % interval ${low} to ${high}).` +
      (result.old_before === null ? "" : ` The speakers that the run knew: ${percent(result.old_before)} before, ${percent(result.old_after)} after.`) }),
    el("p", { textContent: `The adapted run is ${result.run}; choose it at the top of the page.${result.folder ? ` It is kept in ${result.folder}.` : " It ends with the server."}` }),
  ];
}
