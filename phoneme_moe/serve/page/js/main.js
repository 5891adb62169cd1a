// The page: its views, the run, the recording, and the address that brings all of it back.

import RecordPlugin from "../vendor/wavesurfer/record.esm.js";
import { get, postForJson } from "./api.js";
import { attempt, byId, fill, option, say, seconds } from "./elements.js";
import * as link from "./link.js";
import { Recording } from "./recording.js";
import { Timeline } from "./timeline.js";
import { correctView } from "./view_correct.js";
import { fileView } from "./view_file.js";
import { liveView } from "./view_live.js";
import { sayView } from "./view_say.js";
import { whatIfView } from "./view_what_if.js";
import { whoView } from "./view_who.js";

const MAKERS = { live: liveView, file: fileView, "what-if": whatIfView, say: sayView, correct: correctView, who: whoView };
const TITLES = {
  live: "Speak, and see which expert answers",
  file: "A recording, its phonemes and its experts",
  "what-if": "Take an expert away, and see the difference",
  say: "Say this: how well does the sound fit the text?",
  correct: "Correct the phonemes, and teach the run your voice",
  who: "Who routes where, and where you are among them",
};

const app = {
  server: null, // GET /v1/runs
  run: null, // one of its runs
  recording: null,
  inspection: null, // of the recording, with the run's own routing
  example: null,
  view: null,
  name: "",
  settings: {}, // of the address
  timeline: new Timeline(document.querySelector('meta[name="csp-nonce"]').content),

  get layer() { return byId("layer").value || undefined; },
  get layers() { return this.run.layers; },

  /** Settings of the address; undefined removes one. */
  remember(changes) {
    Object.assign(this.settings, changes);
    link.write(this.name, this.settings);
  },

  /** Recognises the recording; the last request wins. */
  async inspect(view = {}, recording = this.recording) {
    this.pending?.abort();
    this.pending = new AbortController();
    const fields = { view: { layer: this.layer, ...view } };
    return postForJson("/v1/inspect", { run: this.run.name }, recording, fields, { signal: this.pending.signal });
  },

  open: (recording, example = null) => attempt(() => open(recording, example)),
};
globalThis.workbench = app; // for the curious, and for tests

async function open(recording, example) {
  // A text belongs to its recording; that of the address to the first one.
  if (app.recording && app.recording !== recording) app.settings.text = undefined;
  app.recording = recording;
  app.example = example;
  app.inspection = null;
  app.remember({ example: recording.origin.example, recording: recording.origin.recording });
  byId("drop").hidden = true;
  byId("stage").hidden = false;
  byId("link").hidden = false;
  byId("recording-name").textContent = recording.name;
  say(`Recognising ${recording.name} …`);
  const began = performance.now();
  // The picture of the sound and the phonemes come side by side.
  const [inspection] = await Promise.all([app.inspect(), app.timeline.load(recording, app.run.sample_rate)]);
  if (app.recording !== recording) return;
  app.inspection = inspection;
  app.timeline.show(inspection, app.server.expert_colours);
  app.view?.recorded?.();
  const number = inspection.transcript.phonemes.length;
  say(`${recording.name}: ${number} phonemes in ${seconds(inspection.transcript.duration)}, shown after ${seconds((performance.now() - began) / 1000)}.`);
}

async function show(name) {
  app.view?.leave?.();
  app.name = name;
  app.timeline.edit(null);
  if (app.inspection) app.timeline.show(app.inspection, app.server.expert_colours);
  byId("title").textContent = TITLES[name];
  document.title = `${TITLES[name]} · phoneme_moe`;
  for (const anchor of document.querySelectorAll(".contents a")) {
    if (anchor.hash === `#${name}`) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  byId("source").hidden = name === "live";
  app.view = MAKERS[name](app, byId("panel"));
  if (app.recording && app.inspection) app.view.recorded?.();
  link.write(name, app.settings);
}

function chooseRun(name) {
  app.run = app.server.runs.find((run) => run.name === name) ?? app.server.runs[0];
  byId("run").value = app.run.name;
  const { phonemes, layers, recipe, corpus, description } = app.run;
  byId("about").textContent = `${description || recipe}. ${phonemes.length} phonemes, ${layers.at(-1).experts.length} experts` +
    `${layers.length > 1 ? ` in each of ${layers.length} layers` : ""}; trained on ${corpus}.`;
  fill(byId("layer"), layers.map((layer) => option(layer.name, layer.name || "gate")));
  byId("layer").value = layers.at(-1).name;
  byId("layer-field").hidden = layers.length < 2;
  app.settings.run = app.server.runs.length > 1 ? app.run.name : undefined;
}

async function listExamples() {
  const { examples } = await get("/v1/examples", { run: app.run.name });
  byId("examples-field").hidden = examples.length === 0;
  app.examples = examples;
  fill(byId("examples"), option("", "choose …"), examples.map((one) =>
    option(one.id, `${one.speaker}: ${one.text || one.phonemes} (${seconds(one.seconds)})`.slice(0, 90))));
}

async function openExample(id) {
  const example = app.examples?.find((one) => one.id === id) ?? null;
  await open(await Recording.example(app.run.name, id), example);
  byId("examples").value = id;
}

async function openFiles(files) {
  app.files = [...files];
  byId("files-field").hidden = app.files.length < 2;
  fill(byId("files"), app.files.map((file, index) => option(String(index), file.name)));
  if (app.files.length) await openFile(app.files[0]);
}

async function openFile(file) {
  if (file.size > app.server.max_upload_bytes) {
    throw new Error(`${file.name}: larger than ${(app.server.max_upload_bytes / 1e6).toFixed(0)} MB`);
  }
  await open(await Recording.of(file, file.name), null);
}

function setUpSources() {
  byId("run").onchange = (event) => attempt(() => changeRun(event.target.value));
  byId("layer").onchange = () => attempt(async () => {
    app.inspection = await app.inspect();
    app.timeline.show(app.inspection, app.server.expert_colours);
    app.view?.recorded?.();
  });
  byId("choose").onchange = (event) => attempt(() => openFiles(event.target.files));
  byId("files").onchange = (event) => attempt(() => openFile(app.files[Number(event.target.value)]));
  byId("examples").onchange = (event) => event.target.value && attempt(() => openExample(event.target.value));
  byId("link").onclick = () => attempt(copyLink);
  const recorder = RecordPlugin.create({ renderRecordedAudio: false });
  byId("record").onclick = () => attempt(() => recordOrStop(recorder));
  recorder.on("record-progress", (time) => { byId("record").textContent = `Stop (${seconds(time / 1000)})`; });
  recorder.on("record-end", (blob) => attempt(async () => {
    recorder.stopMic();
    byId("record").textContent = "Record";
    const suffix = blob.type.includes("mp4") ? "m4a" : blob.type.includes("ogg") ? "ogg" : "webm";
    await open(await Recording.of(blob, `recording.${suffix}`), null);
  }));
  for (const target of [byId("drop"), byId("stage")]) {
    target.ondragover = (event) => { event.preventDefault(); target.classList.add("over"); };
    target.ondragleave = () => target.classList.remove("over");
    target.ondrop = (event) => {
      event.preventDefault();
      target.classList.remove("over");
      attempt(() => openFiles(event.dataTransfer.files));
    };
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, button, a, summary");
    if (event.key === " " && !typing && !byId("stage").hidden) {
      event.preventDefault();
      byId("play").click();
    }
  });
}

async function recordOrStop(recorder) {
  if (recorder.isRecording()) recorder.stopRecording();
  else {
    await recorder.startRecording({ echoCancellation: false, noiseSuppression: false, autoGainControl: false });
    byId("record").textContent = "Stop";
    say("Recording …");
  }
}

async function copyLink() {
  const { origin } = app.recording;
  if (app.server.keeps && !origin.example && !origin.recording) {
    origin.recording = (await postForJson("/v1/recordings", {}, app.recording)).id;
    app.remember({ recording: origin.recording });
  }
  const complete = origin.example || origin.recording;
  await navigator.clipboard.writeText(location.href);
  say(complete ? "The link is copied; it brings back this view with its recording."
    : "The link is copied; it brings back this view, but the recording must be chosen again: this server keeps nothing (serve --keep DIR).");
}

async function changeRun(name) {
  chooseRun(name);
  app.recording = app.inspection = null;
  byId("stage").hidden = true;
  byId("drop").hidden = false;
  byId("link").hidden = true;
  app.settings = { run: app.settings.run };
  await show(app.name);
  await listExamples();
}

/** Shows what the address says. */
async function follow() {
  const { view, settings } = link.read();
  const sameRun = app.run && (!settings.run || settings.run === app.run.name);
  if (!sameRun) chooseRun(settings.run);
  app.settings = { ...settings, run: app.settings.run };
  await show(view);
  if (!sameRun) listExamples().catch((error) => say(error.message, true)).then(() => restore(settings));
  else restore(settings);
}

function restore(settings) {
  const { origin = {} } = app.recording ?? {};
  if (settings.example && settings.example !== origin.example) attempt(() => openExample(settings.example));
  else if (settings.recording && settings.recording !== origin.recording) {
    attempt(async () => open(await Recording.kept(settings.recording), null));
  }
}

attempt(async () => {
  app.server = await get("/v1/runs");
  fill(byId("run"), app.server.runs.map((run) => option(run.name)));
  byId("run").closest("label").hidden = app.server.runs.length < 2;
  app.addRun = async (name) => {
    app.server = await get("/v1/runs");
    fill(byId("run"), app.server.runs.map((run) => option(run.name)));
    byId("run").closest("label").hidden = false;
    byId("run").value = app.run.name;
    return name;
  };
  setUpSources();
  for (const anchor of document.querySelectorAll(".contents a")) {
    anchor.onclick = (event) => {
      event.preventDefault();
      const view = anchor.hash.slice(1);
      history.pushState(null, "", anchor.hash);
      attempt(() => show(view));
    };
  }
  addEventListener("popstate", () => attempt(follow));
  await follow();
  document.body.dataset.ready = "yes";
});
