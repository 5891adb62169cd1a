// Samples of the microphone to the page, in pieces of about 20 ms.
class Samples extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(1024);
    this.filled = 0;
  }

  process([input]) {
    const channel = input[0];
    if (!channel) return true;
    let from = 0;
    while (from < channel.length) {
      const part = channel.subarray(from, from + this.piece.length - this.filled);
      this.piece.set(part, this.filled);
      this.filled += part.length;
      from += part.length;
      if (this.filled === this.piece.length) {
        this.port.postMessage(this.piece.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}
registerProcessor("samples", Samples);
