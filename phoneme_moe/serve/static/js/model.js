// The exported network in onnxruntime-web, and greedy decoding of its output.

import * as ort from "../vendor/onnxruntime/ort.wasm.min.mjs";
import { logMel } from "./features.js";

const BLANK = 0;

export class Model {
  /** Loads settings and network from a folder. */
  static async load(folder = ".") {
    const settings = await (await fetch(`${folder}/model.json`)).json();
    // One thread needs no headers of the host; the network is small.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL("../vendor/onnxruntime/", import.meta.url).href;
    const session = await ort.InferenceSession.create(`${folder}/model.onnx`, { executionProviders: ["wasm"] });
    return new Model(settings, session);
  }

  constructor(settings, session) {
    this.settings = settings;
    this.session = session;
  }

  /** Phonemes of a recording at the model's rate, and the weights of its frames. */
  async recognize(samples) {
    const { front_end: frontEnd, stack, experts, max_frames: most } = this.settings;
    const { features, frames, silent } = logMel(samples, frontEnd);
    if (frames > most) throw new Error(`The recording lasts ${(samples.length / frontEnd.sample_rate).toFixed(0)} s; at most ${(most * frontEnd.hop) / frontEnd.sample_rate} s fit.`);
    if (frames < 1) throw new Error("The recording is too short.");
    const inputs = {
      features: new ort.Tensor("float32", features, [1, frames, frontEnd.n_mels]),
      num_frames: new ort.Tensor("int64", BigInt64Array.of(BigInt(frames)), [1]),
    };
    const outputs = await this.session.run(inputs, ["log_posteriors", "weights"]);
    const [, steps, columns] = outputs.log_posteriors.dims;
    const rows = Array.from({ length: steps }, (_, t) => outputs.log_posteriors.data.subarray(t * columns, (t + 1) * columns));
    const weights = Array.from({ length: steps }, (_, t) => Array.from(outputs.weights.data.subarray(t * experts.length, (t + 1) * experts.length)));
    const frameSeconds = (stack * frontEnd.hop) / frontEnd.sample_rate;
    const duration = samples.length / frontEnd.sample_rate;
    const segments = silent ? [] : this.segments(rows, weights, frameSeconds, duration);
    return {
      transcript: { segments, phonemes: segments.map((one) => one.phoneme), duration },
      weights: experts.length > 1 ? weights : [],
      experts, frame_seconds: frameSeconds, features,
    };
  }

  /** The best path: repetitions merged, blanks removed; gaps are shared by their neighbours. */
  segments(rows, weights, frameSeconds, duration) {
    const { phonemes, experts, temperature } = this.settings;
    const best = rows.map((row) => row.reduce((top, value, index) => (value > row[top] ? index : top), 0));
    const spans = [];
    best.forEach((output, t) => {
      if (output === best[t - 1]) { if (output !== BLANK) spans.at(-1).last = t + 1; }
      else if (output !== BLANK) spans.push({ output, first: t, last: t + 1 });
    });
    const edge = (left, right) => ((left.last + right.first) / 2) * frameSeconds;
    return spans.map((span, index) => {
      const inside = rows.slice(span.first, span.last);
      const confidence = inside.reduce((sum, row) => sum + posterior(row, span.output, temperature), 0) / inside.length;
      const mean = experts.map((_, e) => weights.slice(span.first, span.last).reduce((sum, row) => sum + row[e], 0) / inside.length);
      const near = 0.06; // seconds that a phoneme reaches into silence
      const start = Math.max(span.first * frameSeconds - near, index ? edge(spans[index - 1], span) : 0);
      const end = Math.min(span.last * frameSeconds + near, spans[index + 1] ? edge(span, spans[index + 1]) : duration);
      return { phoneme: phonemes[span.output - 1], start, end, confidence: Math.min(1, confidence), experts: Object.fromEntries(experts.map((name, e) => [name, mean[e]])) };
    });
  }
}

function posterior(row, output, temperature) {
  const top = Math.max(...row);
  const sum = row.reduce((total, value) => total + Math.exp((value - top) / temperature), 0);
  return Math.exp((row[output] - top) / temperature) / sum;
}
