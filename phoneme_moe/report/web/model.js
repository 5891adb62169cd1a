/* The exported model: onnxruntime-web runs it, over windows if a recording is long (transcription/windowing.py). */

import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import {Rows} from "./rows.js";

ort.env.wasm.numThreads = 1; // several need a server that isolates the page
ort.env.wasm.wasmPaths = new URL("onnxruntime/", import.meta.url).href;

export class Model {
  /** Opens the model that `settings`, of model.json, describe. */
  static async open(url, settings) {
    const session = await ort.InferenceSession.create(url, {executionProviders: ["wasm"]});
    return new Model(session, settings);
  }

  constructor(session, settings) {
    this.session = session;
    this.settings = settings;
  }

  /** Log posteriors and expert weights of each frame, from the features of a recording. */
  async infer(features) {
    const {stack, context_frames: context, window_frames: size, batch_frames: most} = this.settings;
    const frames = features.length, total = Math.ceil(frames / stack);
    if (frames <= most) return this.run(features.values, frames);
    let log_posteriors, weights;
    for (let first = 0; first < total; first += size) {
      const last = Math.min(first + size, total), begin = Math.max(0, first - context);
      const end = Math.min((last + context) * stack, frames);
      const window = await this.run(features.slice(begin * stack, end), end - begin * stack);
      log_posteriors ??= new Rows(new Float32Array(total * window.log_posteriors.columns), window.log_posteriors.columns);
      weights ??= new Rows(new Float32Array(total * window.weights.columns), window.weights.columns);
      for (const [all, part] of [[log_posteriors, window.log_posteriors], [weights, window.weights]])
        all.values.set(part.slice(first - begin, last - begin), first * all.columns);
    }
    return {log_posteriors, weights};
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
