// The recording that all views but Live share: from a file, the microphone, the corpus, or a link.

import { getBlob, post } from "./api.js";

const DECODED_RATE = 16000;

export class Recording {
  constructor(blob, name, origin = {}) {
    this.blob = blob;
    this.name = name;
    this.origin = origin; // what a link needs: {example} or {recording}
  }

  /** A recording that this browser can play: the server decodes what it cannot. */
  static async of(blob, name, origin) {
    const recording = new Recording(blob, name, origin);
    const context = new OfflineAudioContext(1, 1, DECODED_RATE);
    try {
      await context.decodeAudioData(await blob.arrayBuffer());
    } catch {
      recording.blob = await (await post("/v1/audio", {}, recording)).blob();
      recording.name = name.replace(/(\.\w+)?$/, ".wav");
    }
    return recording;
  }

  static async example(run, id) {
    return Recording.of(await getBlob("/v1/examples/audio", { run, id }), `${id}.wav`, { example: id });
  }

  static async kept(id) {
    return Recording.of(await getBlob(`/v1/recordings/${encodeURIComponent(id)}`), "recording.wav", { recording: id });
  }
}

/** Samples as a WAV file of 16 bits. */
export function wav(pieces, rate) {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, letters) => [...letters].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }
  return new Blob([view.buffer], { type: "audio/wav" });
}
