/* Recognises in a thread of its own, so that the page stays alive. */

import {meanWeights, transcribe} from "./decode.js";
import {FrontEnd} from "./features.js";
import {Model} from "./model.js";
import {Rows} from "./rows.js";

const settings = await (await fetch(new URL("model.json", import.meta.url))).json();
const frontEnd = new FrontEnd(settings.features);
const opening = Model.open(new URL("model.onnx", import.meta.url).href, settings);

async function recognise(waveform) {
  const began = performance.now();
  const features = new Rows(frontEnd.features(waveform), frontEnd.filters.length);
  if (!features.length) throw new Error("the recording is too short");
  const model = await opening;
  const outputs = await model.infer(features);
  const silent = waveform.every((sample) => Math.abs(sample) <= settings.silent_peak);
  return {
    segments: silent ? [] : transcribe(outputs, settings),
    weights: outputs.weights,
    routing: meanWeights(outputs.weights),
    seconds: (performance.now() - began) / 1000,
  };
}

addEventListener("message", async ({data: {number, waveform}}) => {
  try {
    postMessage({number, result: await recognise(waveform)});
  } catch (error) {
    postMessage({number, error: String(error.message ?? error)});
  }
});

opening.then(() => postMessage({ready: settings}), (error) => postMessage({failed: String(error.message ?? error)}));
