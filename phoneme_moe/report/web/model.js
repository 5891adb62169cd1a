/* The networks of a model, which onnxruntime-web runs: over windows if a recording is long (transcription/windowing.py). */

import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import {Rows} from "./rows.js";

ort.env.wasm.numThreads = 1; // several need a server that isolates the page
ort.env.wasm.wasmPaths = new URL("onnxruntime/", import.meta.url).href;

const open = (file) =>
  ort.InferenceSession.create(new URL(file, import.meta.url).href, {executionProviders: ["wasm"]});

/** The network after the features. */
export class Model {
  static async open(settings) { return new Model(await open("model.onnx"), settings); }

  constructor(session, settings) {
    this.session = session;
    this.settings = settings;
  }

  /** Log posteriors and expert weights of each frame; `features(first, last)` gives the features of some frames. */
  async infer(frames, features) {
    const {stack, context_frames: context, window_frames: size, batch_frames: most} = this.settings;
    if (frames <= most) return this.run(await features(0, frames), frames);
    const total = Math.ceil(frames / stack);
    const outputs = {};
    for (let first = 0; first < total; first += size) {
      const last = Math.min(first + size, total), begin = Math.max(0, first - context);
      const end = Math.min((first + size + context) * stack, frames);
      const window = await this.run(await features(begin * stack, end), end - begin * stack);
      for (const [name, part] of Object.entries(window)) {
        outputs[name] ??= new Rows(new Float32Array(total * part.columns), part.columns);
        outputs[name].values.set(part.slice(first - begin, last - begin), first * part.columns);
      }
    }
    return outputs;
  }

  async run(features, frames) {
    const feeds = {
      features: new ort.Tensor("float32", features, [1, frames, features.length / frames]),
      num_frames: new ort.Tensor("int64", BigInt64Array.of(BigInt(frames)), [1]),
    };
    const outputs = await this.session.run(feeds, ["log_posteriors", "weights"]);
    const rows = ({data, dims}) => new Rows(data, dims[2]);
    return {log_posteriors: rows(outputs.log_posteriors), weights: rows(outputs.weights)};
  }
}

/** A pretrained encoder, whose hidden states are features (transcription/onnx_encoder.py, features/encoder_windows.py). */
export class Encoder {
  static async open(settings) { return new Encoder(await open("model.encoder.onnx"), settings); }

  constructor(session, {hop, window_samples, margin_samples}) {
    Object.assign(this, {session, hop, size: window_samples, margin: margin_samples});
  }

  /** Features of a waveform, shape (frames, features) in one array; in windows with context if it is long. */
  async features(waveform) {
    const {hop, size, margin} = this, frames = Math.floor(waveform.length / hop);
    if (waveform.length <= size + 2 * margin) return (await this.encode(waveform)).slice(0, frames);
    let all;
    for (let first = 0; first < frames * hop; first += size) {
      const begin = Math.max(0, first - margin), skipped = (first - begin) / hop;
      const states = await this.encode(waveform.subarray(begin, first + size + margin));
      const kept = states.slice(skipped, Math.min(skipped + size / hop, skipped + frames - first / hop));
      all ??= new Float32Array(frames * states.columns);
      all.set(kept, (first / hop) * states.columns);
    }
    return all;
  }

  async encode(waveform) {
    const frames = Math.max(1, Math.floor(waveform.length / this.hop));
    const samples = new Float32Array(frames * this.hop);
    samples.set(waveform.subarray(0, samples.length));
    const {hidden_states: states} = await this.session.run({samples: new ort.Tensor("float32", samples, [samples.length])});
    return new Rows(states.data, states.dims.at(-1));
  }
}
