/* The page: takes recordings, has them recognised by the worker and shows the results. */

import {Rows} from "./rows.js";
import {decode, Player, Recorder} from "./sound.js";
import {drawPhonemes, drawTicks, drawWave, drawWeights} from "./timeline.js";

const find = (id) => document.getElementById(id);
const [status, timeline, readout, play, record] = ["status", "timeline", "readout", "play", "record"].map(find);
const worker = new Worker(new URL("worker.js", import.meta.url), {type: "module"});
const waiting = new Map(); // number of a request -> what to do with its answer
let settings, shown, recorder;
let opened = 0; // recordings so far
let scale = 400; // pixels per second, 0: the whole recording

const say = (text, isError = false) => {
  status.textContent = text;
  status.classList.toggle("error", isError);
};
worker.addEventListener("error", (event) => say(`The model cannot run here: ${event.message ?? "the worker failed"}`, true));
worker.addEventListener("message", ({data}) => {
  if (data.failed) say(`The model cannot be opened: ${data.failed}`, true);
  else if (data.ready) {
    settings = data.ready;
    for (const control of document.querySelectorAll("#take :disabled")) control.disabled = false;
    say("Ready.");
  } else {
    const {done, failed} = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error) failed(new Error(data.error));
    else done(data.result);
  }
});

let requests = 0;
const recognise = (waveform) => new Promise((done, failed) => {
  waiting.set(++requests, {done, failed});
  worker.postMessage({number: requests, waveform});
});

async function open(file) {
  if (!settings || !file) return;
  const mine = ++opened;
  say(`Recognising ${file.name} …`);
  try {
    const waveform = await decode(file, settings.sample_rate, settings.offset_share);
    const result = await recognise(waveform);
    if (mine !== opened) return; // another one has been chosen meanwhile
    show(file.name, waveform, result);
    say(`${file.name}: ${result.segments.length} phonemes, recognised in ${result.seconds.toFixed(2)} s.`);
  } catch (error) {
    say(error.message, true);
  }
}

const player = new Player((time) => {
  play.textContent = player.playing ? "Stop" : "Play";
  const cursor = find("cursor");
  cursor.hidden = time === null;
  if (time === null) return;
  cursor.style.left = `${(100 * time) / shown.duration}%`;
  describe(time);
  const box = find("view"), x = (time / shown.duration) * timeline.clientWidth;
  if (x < box.scrollLeft || x > box.scrollLeft + box.clientWidth) box.scrollLeft = x - 40;
});

function show(name, waveform, {segments, weights: {values, columns}, routing, seconds}) {
  const weights = new Rows(values, columns), rate = settings.sample_rate, duration = waveform.length / rate;
  shown = {segments, weights, duration};
  player.load(waveform, rate);
  find("result").hidden = false;
  find("name").textContent = name;
  find("phonemes").textContent = segments.map(({phoneme}) => phoneme).join(" ") || "No phoneme was recognised.";
  const sure = segments.reduce((sum, {confidence}) => sum + confidence, 0) / segments.length;
  find("facts").replaceChildren(...Object.entries({
    duration: `${duration.toFixed(2)} s`,
    phonemes: segments.length,
    "mean confidence": segments.length ? `${(100 * sure).toFixed(0)} %` : "–",
    recognised: `in ${seconds.toFixed(2)} s, ${Number((duration / seconds).toPrecision(2))} times real time`,
  }).map(fact));
  drawWave(find("wave"), waveform);
  drawPhonemes(find("segments"), segments, duration, {play: (start, end) => player.play(start, end), describe});
  if (columns > 1) drawWeights(find("weights"), weights, (weights.length * settings.frame_seconds) / duration);
  find("legend").replaceChildren(...settings.experts.map((expert, i) => {
    const item = document.createElement("li"), colour = document.createElement("i");
    colour.className = `e${i}`;
    item.append(colour, `${expert} ${(100 * routing[i]).toFixed(0)} %`);
    return item;
  }));
  find("rows").replaceChildren(...segments.map(row));
  fit();
  describe(0);
}

function fact([name, value]) {
  const pair = document.createElement("div");
  pair.append(Object.assign(document.createElement("dt"), {textContent: name}));
  pair.append(Object.assign(document.createElement("dd"), {textContent: value}));
  return pair;
}

function row({phoneme, start, end, confidence, weights}) {
  const line = document.createElement("tr");
  line.append(Object.assign(document.createElement("th"), {scope: "row", textContent: phoneme}));
  const numbers = [start.toFixed(2), end.toFixed(2), (100 * confidence).toFixed(0)];
  for (const value of [...numbers, ...(weights.length > 1 ? weights.map((weight) => (100 * weight).toFixed(0)) : [])])
    line.insertCell().textContent = value;
  return line;
}

/** Phoneme and greatest weights at a time, as text. */
function describe(time) {
  const {segments, weights} = shown;
  const segment = segments.find(({start, end}) => start <= time && time < end);
  const words = segment ? `${segment.phoneme}, confidence ${(100 * segment.confidence).toFixed(0)} %` : "no phoneme";
  const frame = weights.row(Math.min(weights.length - 1, Math.floor(time / settings.frame_seconds)));
  const best = [...frame.entries()].sort((a, b) => b[1] - a[1]).slice(0, 3).filter(([, weight]) => weight >= 0.05);
  const named = best.map(([i, weight]) => `${settings.experts[i]} ${(100 * weight).toFixed(0)} %`).join(", ");
  readout.textContent = `${time.toFixed(2)} s · ${words}${frame.length > 1 ? ` · ${named}` : ""}`;
}

function fit() {
  timeline.style.width = scale ? `max(100%, ${Math.round(scale * shown.duration)}px)` : "100%";
  for (const button of find("segments").children)
    button.classList.toggle("narrow", button.clientWidth < 3 + 7.5 * button.textContent.length);
  drawTicks(find("ticks"), shown.duration);
}

for (const button of document.querySelectorAll("[data-zoom]"))
  button.addEventListener("click", () => {
    const now = timeline.clientWidth / shown.duration;
    scale = {in: Math.min(2000, 1.5 * now), out: now / 1.5, all: 0}[button.dataset.zoom];
    fit();
  });
new ResizeObserver(() => { if (shown) fit(); }).observe(find("view"));
timeline.addEventListener("pointermove", (event) => {
  const {left, width} = timeline.getBoundingClientRect();
  if (!player.playing) describe(Math.max(0, Math.min(1, (event.clientX - left) / width)) * shown.duration);
});
play.addEventListener("click", () => (player.playing ? player.stop() : player.play()));

find("file").addEventListener("change", ({target}) => { open(target.files[0]); target.value = ""; });
record.addEventListener("click", async () => {
  try {
    if (recorder) {
      const stopped = recorder;
      recorder = null;
      record.textContent = "Record";
      await open(await stopped.stop());
    } else {
      recorder = await Recorder.start();
      record.textContent = "Stop recording";
      say("Recording …");
    }
  } catch (error) {
    say(`The microphone cannot be used: ${error.message}`, true);
  }
});
addEventListener("dragover", (event) => { event.preventDefault(); find("take").classList.add("over"); });
addEventListener("dragleave", () => find("take").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  find("take").classList.remove("over");
  open(event.dataTransfer.files[0]);
});
