// Live: waveform, spectrogram, phonemes and weights run along while somebody speaks.

import { listen } from "./api.js";
import { attempt, el, fill, say, seconds } from "./elements.js";
import { css } from "./lanes.js";
import { Recording, wav } from "./recording.js";
import { Scroller } from "./scroller.js";

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
    this.phonemes = [];
    this.latencies = [];
    this.lanes = Object.fromEntries(Object.entries(parts.lanes).map(([name, canvas]) => [name, new Scroller(canvas, WINDOW)]));
    this.inks = { wave: css("--wave"), text: css("--ink"), dark: matchMedia("(prefers-color-scheme: dark)").matches };
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
    this.spectrum = new Float32Array(this.analyser.frequencyBinCount);
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
    this.paintSound(samples);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(samples);
  }

  get now() { return this.received / this.rate; }

  /** What the server recognised in a few frames. */
  take(step) {
    if (this.experts.length > 1) step.weights.forEach((weights, index) => this.paintWeights(weights, step.start + index * this.frameSeconds));
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

  /** Paints what has come, and shows it as often as the screen can. */
  draw() {
    if (this.closed) return;
    requestAnimationFrame(() => this.draw());
    this.lanes.sound.show();
    this.lanes.wave.show();
    this.lanes.weights.show();
    this.drawPhonemes();
  }

  /** A piece of sound: its peak, and the spectrum of this moment. */
  paintSound(samples) {
    const from = this.now;
    this.received += samples.length;
    const { now } = this;
    for (const lane of Object.values(this.lanes)) lane.advance(now);
    let peak = 0;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    this.lanes.wave.paint(from, now, (context, x, width, height) => {
      const tall = Math.max(2, Math.min(1, peak) * height);
      context.fillStyle = this.inks.wave;
      context.fillRect(x, (height - tall) / 2, width + 0.5, tall);
    });
    this.analyser.getFloatFrequencyData(this.spectrum);
    const perBand = (TOP_HZ / (this.rate / 2)) * (this.spectrum.length / BANDS);
    this.lanes.sound.paint(from, now, (context, x, width, height) => {
      for (let band = 0; band < BANDS; band++) {
        const level = Math.min(1, Math.max(0, (this.spectrum[Math.floor(band * perBand)] + 95) / 65));
        const grey = Math.round(255 * (this.inks.dark ? level : 1 - level));
        context.fillStyle = `rgb(${grey} ${grey} ${grey} / ${Math.min(1, level * 1.6)})`;
        context.fillRect(x, height - ((band + 1) / BANDS) * height, width + 0.5, height / BANDS + 0.5);
      }
    });
  }

  paintWeights(weights, from) {
    const colours = this.app.server.expert_colours;
    this.lanes.weights.paint(from, from + this.frameSeconds, (context, x, width, height) => {
      let bottom = height;
      weights.forEach((weight, expert) => {
        context.fillStyle = colours[expert % colours.length];
        context.fillRect(x, bottom - weight * height, width + 0.5, weight * height);
        bottom -= weight * height;
      });
    });
  }

  drawPhonemes() {
    const { context, width, height } = this.lanes.phonemes.show();
    context.font = `600 15px ${css("--sans")}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = this.inks.text;
    let edge = Infinity;
    // From the newest on, those that fit; the running line above has all.
    for (const { phoneme, time, confidence } of this.phonemes.slice(-200).reverse()) {
      const x = width - ((this.now - time) / WINDOW) * width;
      const half = context.measureText(phoneme).width / 2 + 1;
      if (x < 0) break;
      if (x + half > edge) continue;
      edge = x - half;
      context.globalAlpha = 0.35 + 0.65 * confidence;
      context.fillText(phoneme, x, height / 2);
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
