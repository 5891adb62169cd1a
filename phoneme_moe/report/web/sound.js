/* Sound of files and of the microphone as waveforms, and its playback. */

/** Decodes a file to one channel at a sample rate, without a constant offset (phoneme_moe/audio/mixing.py). */
export async function decode(file, rate, offsetShare) {
  let sound;
  try {
    sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: this browser cannot decode it as sound`);
  }
  const channels = Array.from({length: sound.numberOfChannels}, (_, i) => sound.getChannelData(i));
  const waveform = channels[0].map((_, i) => channels.reduce((sum, one) => sum + one[i], 0) / channels.length);
  const mean = waveform.reduce((sum, sample) => sum + sample, 0) / waveform.length;
  const power = waveform.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / waveform.length;
  return Math.abs(mean) > offsetShare * Math.sqrt(power) ? waveform.map((sample) => sample - mean) : waveform;
}

/** Records until `stop()`, which gives the recording as a file. */
export class Recorder {
  static async start() {
    const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
    return new Recorder(await navigator.mediaDevices.getUserMedia({audio: plain}));
  }

  constructor(stream) {
    this.stream = stream;
    this.recorder = new MediaRecorder(stream);
    this.parts = [];
    this.recorder.addEventListener("dataavailable", ({data}) => this.parts.push(data));
    this.recorder.start();
  }

  stop() {
    return new Promise((done) => {
      this.recorder.addEventListener("stop", () => {
        for (const track of this.stream.getTracks()) track.stop();
        done(new File(this.parts, "microphone", {type: this.recorder.mimeType}));
      });
      this.recorder.stop();
    });
  }
}

/** Plays parts of a waveform; `moved(seconds)` follows, with null at the end. */
export class Player {
  constructor(moved) { this.moved = moved; }

  load(waveform, rate) {
    this.stop();
    this.context ??= new AudioContext();
    this.sound = new AudioBuffer({length: waveform.length, sampleRate: rate});
    this.sound.copyToChannel(waveform, 0);
  }

  get playing() { return Boolean(this.source); }

  async play(start = 0, end = this.sound.duration) {
    this.stop();
    const source = new AudioBufferSourceNode(this.context, {buffer: this.sound});
    this.source = source;
    source.connect(this.context.destination);
    source.addEventListener("ended", () => { if (this.source === source) this.stop(); });
    await this.context.resume();
    if (this.source !== source) return;
    const began = this.context.currentTime;
    source.start(0, start, end - start);
    const step = () => {
      if (this.source !== source) return;
      this.moved(Math.min(end, start + this.context.currentTime - began));
      requestAnimationFrame(step);
    };
    step();
  }

  stop() {
    const source = this.source;
    this.source = null;
    try { source?.stop(); } catch { /* it had not begun */ }
    this.moved(null);
  }
}
