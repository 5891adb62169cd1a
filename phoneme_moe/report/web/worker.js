/* Recognises in a thread of its own, so that the page stays alive. */

import {meanWeights, transcribe} from "./decode.js";
import {FrontEnd} from "./features.js";
import {Encoder, Model} from "./model.js";

const settings = await (await fetch(new URL("model.json", import.meta.url))).json();

/** Number of frames of a waveform, and a function that gives the features of some of them. */
async function listen(waveform, encoder) {
  if (encoder) {
    const hop = encoder.hop;
    const features = (first, last) => encoder.features(waveform.subarray(first * hop, last * hop));
    return [Math.floor(waveform.length / hop), features];
  }
  const {hop, filters: {length: bands}} = settings.features;
  const features = new FrontEnd(settings.features).features(waveform);
  return [Math.floor(waveform.length / hop), (first, last) => features.subarray(first * bands, last * bands)];
}

async function recognise(waveform) {
  const began = performance.now();
  const [model, encoder] = await opening;
  const [frames, features] = await listen(waveform, encoder);
  if (!frames) throw new Error("the recording is too short");
  const outputs = await model.infer(frames, features);
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

const opening = Promise.all([Model.open(settings), settings.encoder && Encoder.open(settings.encoder)]);
opening.then(() => postMessage({ready: settings}), (error) => postMessage({failed: String(error.message ?? error)}));
