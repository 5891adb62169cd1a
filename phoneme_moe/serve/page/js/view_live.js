// Live: waveform, spectrogram, phonemes and weights run along while somebody speaks.

import { listen } from "./api.js";
import { attempt, el, fill, say, seconds } from "./elements.js";
import { css, drawWeights, prepare } from "./lanes.js";
import { Recording, wav } from "./recording.js";

const WINDOW = 8; // seconds on the screen
const BANDS = 96; // of the spectrogram
const TOP_HZ = 7000;
const LATENCIES = 200; // phonemes over which the median is taken

export function liveView(app, panel) {
  const canvas = (name, height) => el("canvas", { role: "img", "aria-label": name, style: { height: `${height}px` } });
  const lanes = { wave: canvas("Waveform", 64), sound: canvas("Spectrogram", 110), phonemes: canvas("Phonemes over time", 34), weights: canvas("Weights of the experts over time", 96) };
  const leading = el("p", { className: "leading" });
  const running = el("p", { className: "running", role: "log", "aria-label": "Recognised phonemes" });
  const latency = el("output");
  const start = el("button", { type: "button", className: "main", textContent: "Start the microphone" });
  const choose = el("input", { type: "file", className: "visually-hidden", accept: "audio/*,video/*" });
  const stop = el("button", { type: "button", textContent: "Stop", disabled: true });
  const keep = el("button", { type: "button", textContent: "Look at it in File", hidden: true });
  let session = null;

  const begin = (source) => attempt(async () => {
    await session?.end();
    keep.hidden = true;
    session = new Session(app, { lanes, leading, running, latency });
    start.disabled = true;
    stop.disabled = false;
    try {
      await session.start(source);
    } catch (error) {
      await session.end();
      finished();
      throw new Error(error.name === "NotAllowedError" ? "The browser may not use the microphone; allow it in the address line." : error.message);
    }
    session.done.then(finished);
  });
  function finished() {
    start.disabled = false;
    stop.disabled = true;
    keep.hidden = !session?.pieces.length;
    if (session?.error) say(session.error, true);
    else say("Stopped.");
  }
  start.onclick = () => begin(null);
  choose.onchange = () => choose.files[0] && begin(choose.files[0]);
  stop.onclick = () => session?.end();
  keep.onclick = () => attempt(async () => {
    const { pieces, rate } = session;
    await app.open(await Recording.of(wav(pieces, rate), "live.wav"));
    document.querySelector('.contents a[href="#file"]').click();
  });

  const problem = app.run.live_problem;
  const other = problem && app.server.runs.find((run) => !run.live_problem);
  fill(panel, el("div", { className: "live" },
    problem ? el("p", { className: "missing", textContent: `${problem}.${other ? ` ${other.name} can: choose it at the top.` : ""}` }) : "",
    el("div", { className: "controls" }, start, el("label", { className: "button" }, "Play a file into it", choose), stop, keep, latency),
    leading, running, Object.values(lanes),
    app.run.layers.at(-1).experts.length > 1 ? el("ul", { className: "legend" }, app.run.layers.at(-1).experts.map((name, index) =>
      el("li", {}, el("i", { style: { background: app.server.expert_colours[index % app.server.expert_colours.length] } }), name))) : ""));
  if (problem) start.disabled = choose.disabled = true;
  return { leave: () => session?.end() };
}

class Session {
  constructor(app, parts) {
    this.app = app;
    Object.assign(this, parts);
    this.pieces = [];
    this.received = 0; // samples taken from the microphone
    this.frames = [];
    this.phonemes = [];
    this.columns = [];
    this.latencies = [];
    this.leader = "";
    this.done = new Promise((done) => { this.finished = done; });
  }

  /** Listens to the microphone, or to a file that is played at its pace. */
  async start(file) {
    this.context = new AudioContext();
    const { context } = this;
    this.rate = context.sampleRate;
    await context.audioWorklet.addModule("/page/js/pcm_worklet.js");
    let source;
    if (file) {
      source = context.createBufferSource();
      const playable = await Recording.of(file, file.name);
      source.buffer = await context.decodeAudioData(await playable.blob.arrayBuffer());
      source.connect(context.destination);
    } else {
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      this.microphone = await navigator.mediaDevices.getUserMedia({ audio });
      source = context.createMediaStreamSource(this.microphone);
    }
    await this.connect();
    const worklet = new AudioWorkletNode(context, "samples", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0 });
    worklet.port.onmessage = ({ data }) => this.send(data);
    source.connect(worklet);
    source.connect(this.analyser);
    await context.resume();
    if (file) {
      source.onended = () => this.end();
      source.start();
    }
    say(file ? `Playing ${file.name} …` : "Listening …");
    this.draw();
  }

  connect() {
    this.socket = listen({ run: this.app.run.name, rate: Math.round(this.rate), samples: "f32le" });
    return new Promise((ready, failed) => {
      this.socket.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        if (event.type === "ready") {
          this.experts = event.experts;
          this.frameSeconds = event.frame_seconds;
          ready();
        } else if (event.type === "steps") event.steps.forEach((step) => this.take(step));
        else if (event.type === "error") {
          this.error = event.error;
          failed(new Error(event.error));
          this.end();
        }
      };
      this.socket.onerror = () => failed(new Error("The server cannot be reached."));
      this.socket.onclose = () => this.close();
    });
  }

  send(samples) {
    this.pieces.push(samples);
    this.received += samples.length;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(samples);
  }

  get now() { return this.received / this.rate; }

  /** What the server recognised in a few frames. */
  take(step) {
    const first = Math.round(step.start / this.frameSeconds);
    step.weights.forEach((weights, index) => { this.frames[first + index] = weights; });
    for (let frame = 0; frame < first; frame++) this.frames[frame] ??= new Array(this.experts.length).fill(0);
    for (const phoneme of step.phonemes) {
      // What a person waits: sound that had to come, recognition, and the way here.
      this.latencies.push(this.now - phoneme.time);
      this.phonemes.push(phoneme);
    }
    this.latencies = this.latencies.slice(-LATENCIES);
    if (!step.phonemes.length) return;
    const { expert } = step.phonemes.at(-1);
    if (expert) this.leading.textContent = `${expert} leads`;
    fill(this.running, el("bdi", { textContent: this.phonemes.slice(-60).map((one) => one.phoneme).join(" ") }));
    const sorted = [...this.latencies].sort((a, b) => a - b);
    this.latency.textContent = `${seconds(sorted[Math.floor(sorted.length / 2)])} behind`;
  }

  draw() {
    if (this.closed) return;
    requestAnimationFrame(() => this.draw());
    const spectrum = new Float32Array(this.analyser.frequencyBinCount);
    this.analyser.getFloatFrequencyData(spectrum);
    this.columns.push([this.now, spectrum]);
    while (this.columns[0][0] < this.now - WINDOW - 1) this.columns.shift();
    const range = [this.now - WINDOW, this.now];
    this.drawWave(range);
    this.drawSpectrogram(range);
    this.drawPhonemes(range);
    const { frames, frameSeconds, app } = this;
    drawWeights(this.lanes.weights, { frames, frameSeconds }, range, app.server.expert_colours);
  }

  drawWave([from, to]) {
    const { context, width, height } = prepare(this.lanes.wave);
    context.fillStyle = css("--wave");
    const size = this.pieces[0]?.length ?? 1024;
    for (let x = 0; x < width; x++) {
      const time = from + (x / width) * (to - from);
      const piece = this.pieces[Math.floor((time * this.rate) / size)];
      if (time < 0 || !piece) continue;
      let peak = 0;
      for (const sample of piece) peak = Math.max(peak, Math.abs(sample));
      const tall = Math.max(1, Math.min(1, peak) * height);
      context.fillRect(x, (height - tall) / 2, 1, tall);
    }
  }

  drawSpectrogram([from, to]) {
    const { context, width, height } = prepare(this.lanes.sound);
    const perBand = (TOP_HZ / (this.rate / 2)) * (this.analyser.frequencyBinCount / BANDS);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    this.columns.forEach(([time, spectrum], index) => {
      const next = this.columns[index + 1]?.[0] ?? to;
      const x = ((time - from) / (to - from)) * width;
      const wide = Math.max(1, ((next - time) / (to - from)) * width + 0.5);
      for (let band = 0; band < BANDS; band++) {
        const level = Math.min(1, Math.max(0, (spectrum[Math.floor(band * perBand)] + 95) / 65));
        if (level < 0.04) continue;
        const grey = Math.round(255 * (dark ? level : 1 - level));
        context.fillStyle = `rgb(${grey} ${grey} ${grey} / ${Math.min(1, level * 1.6)})`;
        context.fillRect(x, height - ((band + 1) / BANDS) * height, wide, height / BANDS + 0.5);
      }
    });
  }

  drawPhonemes([from, to]) {
    const { context, width, height } = prepare(this.lanes.phonemes);
    context.font = `600 15px ${css("--sans")}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = css("--ink");
    for (const { phoneme, time, confidence } of this.phonemes.slice(-200)) {
      if (time < from) continue;
      context.globalAlpha = 0.35 + 0.65 * confidence;
      context.fillText(phoneme, ((time - from) / (to - from)) * width, height / 2);
    }
    context.globalAlpha = 1;
  }

  /** Ends the sound; what it completes still comes. */
  async end() {
    this.microphone?.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") await this.context.close();
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send("end");
    else this.close();
    return this.done;
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.microphone?.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") this.context.close();
    this.finished();
  }
}
