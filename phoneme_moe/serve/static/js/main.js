// The static page: a recording from a file or the microphone, recognised here.

import RecordPlugin from "../vendor/wavesurfer/record.esm.js";
import { attempt, byId, el, fill, percent, say, seconds, tableOf } from "./elements.js";
import { Model } from "./model.js";
import { Timeline } from "./timeline.js";

const timeline = new Timeline(document.querySelector('meta[name="csp-nonce"]').content);
const page = { model: null, inspection: null };
globalThis.page = page; // for the curious, and for tests

/** Samples at the model's rate, one channel; the browser decodes and resamples. */
async function samplesOf(blob) {
  const context = new OfflineAudioContext(1, 1, page.model.settings.front_end.sample_rate);
  const buffer = await context.decodeAudioData(await blob.arrayBuffer());
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((sample, index) => { mono[index] += sample / buffer.numberOfChannels; });
  }
  return mono;
}

async function open(blob, name) {
  byId("drop").hidden = true;
  byId("stage").hidden = false;
  byId("recording-name").textContent = name;
  say(`Recognising ${name} …`);
  const samples = await samplesOf(blob);
  const began = performance.now();
  const inspection = await page.model.recognize(samples);
  const took = (performance.now() - began) / 1000;
  await timeline.load({ blob }, page.model.settings.front_end.sample_rate);
  page.inspection = inspection;
  timeline.show(inspection, page.model.settings.colours);
  const { phonemes, duration, segments } = inspection.transcript;
  fill(byId("panel"),
    el("p", { className: "transcripts", textContent: phonemes.join(" ") || "No phoneme was recognised." }),
    tableOf("All phonemes as a table", ["phoneme", "start, s", "end, s", "confidence"],
      segments.map((one) => [one.phoneme, one.start.toFixed(3), one.end.toFixed(3), percent(one.confidence)])));
  say(`${name}: ${phonemes.length} phonemes in ${seconds(duration)}, recognised in ${seconds(took)}.`);
}

const recorder = RecordPlugin.create({ renderRecordedAudio: false });
byId("record").onclick = () => attempt(async () => {
  if (recorder.isRecording()) recorder.stopRecording();
  else {
    await recorder.startRecording({ echoCancellation: false, noiseSuppression: false, autoGainControl: false });
    byId("record").textContent = "Stop";
  }
});
recorder.on("record-progress", (time) => { byId("record").textContent = `Stop (${seconds(time / 1000)})`; });
recorder.on("record-end", (blob) => attempt(async () => {
  recorder.stopMic();
  byId("record").textContent = "Record";
  await open(blob, "recording");
}));
byId("choose").onchange = ({ target }) => target.files[0] && attempt(() => open(target.files[0], target.files[0].name));
for (const target of [byId("drop"), byId("stage")]) {
  target.ondragover = (event) => event.preventDefault();
  target.ondrop = (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) attempt(() => open(file, file.name));
  };
}

attempt(async () => {
  page.model = await Model.load();
  const { recipe, description, phonemes, experts, corpus, beam } = page.model.settings;
  byId("about").textContent = `${description || recipe}. ${phonemes.length} phonemes, ${experts.length} experts; trained on ${corpus}. Decoded greedily` +
    `${beam ? `, where transcribe uses a beam search of ${beam}: expect a few more errors` : ""}.`;
  byId("choose").disabled = byId("record").disabled = false;
  say("The model is loaded.");
  document.body.dataset.ready = "yes";
});
