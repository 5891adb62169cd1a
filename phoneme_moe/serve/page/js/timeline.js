// A recording over time: waveform, spectrogram, phonemes, weights and entropy on one axis.

import WaveSurfer from "../vendor/wavesurfer/wavesurfer.esm.js";
import Regions from "../vendor/wavesurfer/regions.esm.js";
import Spectrogram from "../vendor/wavesurfer/spectrogram.esm.js";
import Ruler from "../vendor/wavesurfer/timeline.esm.js";
import { byId, el, fill, percent, seconds } from "./elements.js";
import { css, drawEffective, drawWeights, effectiveExperts } from "./lanes.js";

const CONFIDENCE_OPACITY = 0.45; // of the most certain phoneme: its symbol must stay readable
const MOST_ZOOM = 1500; // pixels per second
const SPECTROGRAM_HEIGHT = 128;

export class Timeline extends EventTarget {
  constructor(nonce) {
    super();
    this.segments = [];
    this.inspection = null;
    this.colours = [];
    this.selected = -1;
    this.editable = false;
    this.nonce = nonce;
    this.regions = Regions.create();
    this.wave = null;
    this.stopDragging = null;
    for (const [id, factor] of [["zoom-in", 1.8], ["zoom-out", 1 / 1.8]]) byId(id).onclick = () => this.zoom(factor);
    byId("zoom-fit").onclick = () => this.zoom(0);
    byId("play").onclick = () => this.wave?.playPause();
    byId("lane-weights").onpointermove = (event) => this.pointAt(event);
    byId("lane-entropy").onpointermove = (event) => this.pointAt(event);
    new ResizeObserver(() => this.draw()).observe(byId("lanes"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
  }

  /** Shows the sound of a recording, as a model of this rate takes it; its phonemes come later. */
  async load(recording, sampleRate) {
    this.show(null);
    if (!this.wave || this.wave.options.sampleRate !== sampleRate) this.create(sampleRate);
    this.zoomed = 0;
    this.wave.options.minPxPerSec = 0;
    await this.wave.loadBlob(recording.blob);
    byId("clock").textContent = `0.00 / ${seconds(this.wave.getDuration())}`;
    this.draw();
  }

  create(sampleRate) {
    this.wave?.destroy();
    this.regions = Regions.create();
    this.wave = WaveSurfer.create({
      container: "#waveform", height: 64, cspNonce: this.nonce, sampleRate, normalize: true, minPxPerSec: 0,
      waveColor: css("--wave"), progressColor: css("--wave"), cursorColor: css("--outline"), cursorWidth: 2,
      plugins: [
        this.regions,
        Ruler.create({ height: 18, style: { fontSize: "11px", color: css("--quiet") } }),
        Spectrogram.create({
          height: SPECTROGRAM_HEIGHT, fftSamples: 512, labels: false, scale: "mel", frequencyMax: sampleRate / 2,
          gainDB: 22, rangeDB: 70, colorMap: matchMedia("(prefers-color-scheme: dark)").matches ? "roseus" : darkOnLight(),
        }),
      ],
    });
    this.wave.on("scroll", () => this.draw());
    this.wave.on("zoom", () => this.draw());
    this.wave.on("redraw", () => this.draw());
    this.wave.on("timeupdate", (time) => this.at(time));
    this.wave.on("play", () => { byId("play").textContent = "Pause"; });
    this.wave.on("pause", () => { byId("play").textContent = "Play"; });
    this.regions.on("region-created", (region) => this.dragged(region));
    this.regions.on("region-updated", (region) => this.moved(region));
    this.regions.on("region-clicked", (region, event) => {
      event.stopPropagation();
      if (region.segment === undefined) region.play(true);
      else this.select(region.segment, true);
    });
    this.dragToPlay();
  }

  restyle() {
    if (!this.wave) return;
    this.wave.setOptions({ waveColor: css("--wave"), progressColor: css("--wave"), cursorColor: css("--outline") });
    this.draw();
  }

  /** Shows phonemes and weights; null for none. `changed` has the indices of changed segments. */
  show(inspection, colours = this.colours, changed = new Set()) {
    this.inspection = inspection;
    this.colours = colours;
    this.changed = changed;
    this.segments = inspection?.transcript.segments ?? [];
    this.selected = -1;
    const several = (inspection?.weights.length ?? 0) > 0;
    for (const id of ["lane-weights", "weights-title", "lane-entropy", "entropy-title", "legend"]) byId(id).hidden = !several;
    if (several) {
      fill(byId("legend"), inspection.experts.map((name, index) =>
        el("li", {}, el("i", { style: { background: colours[index % colours.length] } }), name)));
    }
    this.mark(null);
    this.draw();
  }

  /** Phonemes that a person edits, in place of those of the model. */
  edit(segments) {
    this.editable = segments !== null;
    this.segments = segments ?? this.inspection?.transcript.segments ?? [];
    if (!this.wave) return;
    this.regionsOfSegments();
    this.dragToPlay();
    this.draw();
  }

  regionsOfSegments() {
    this.regions.clearRegions();
    if (!this.editable) return;
    this.filling = true;
    this.segments.forEach((segment, index) => {
      const region = this.regions.addRegion({
        start: segment.start, end: segment.end, drag: false, resize: true,
        color: index % 2 ? "rgb(128 128 128 / .10)" : "rgb(128 128 128 / .22)",
      });
      region.segment = index;
    });
    this.filling = false;
  }

  dragToPlay() {
    this.stopDragging?.();
    this.stopDragging = this.editable ? null : this.regions.enableDragSelection({ color: "rgb(232 89 12 / .2)" }, 4);
  }

  dragged(region) {
    if (this.filling || this.editable) return;
    for (const other of this.regions.getRegions()) if (other !== region) other.remove();
    region.play(true);
  }

  moved(region) {
    if (region.segment === undefined) {
      if (!this.editable) region.play(true);
      return;
    }
    const moved = new CustomEvent("moved", { detail: { index: region.segment, start: region.start, end: region.end } });
    this.dispatchEvent(moved);
  }

  zoom(factor) {
    if (!this.wave) return;
    const fitting = byId("waveform").clientWidth / this.wave.getDuration();
    this.zoomed = factor ? Math.min(MOST_ZOOM, Math.max(fitting, (this.zoomed || fitting) * factor)) : fitting;
    this.wave.zoom(this.zoomed <= fitting ? 0 : this.zoomed);
    this.draw();
  }

  /** Shows so many seconds, if the recording is longer. */
  zoomTo(time) {
    const fitting = byId("waveform").clientWidth / this.wave.getDuration();
    const wanted = byId("waveform").clientWidth / time;
    if (wanted > fitting) this.zoom(wanted / (this.zoomed || fitting));
  }

  /** The times at the left and right edge. */
  visible() {
    const duration = this.wave.getDuration();
    const width = byId("waveform").clientWidth;
    const whole = this.wave.getWrapper().clientWidth || width;
    const from = (this.wave.getScroll() / whole) * duration;
    return [from, from + (width / whole) * duration];
  }

  draw() {
    if (this.waits || !this.wave) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      if (!this.wave?.getDuration()) return;
      const range = this.visible();
      this.drawPhonemes(range);
      if (!this.inspection?.weights.length) return;
      const lane = { frames: this.inspection.weights, frameSeconds: this.inspection.frame_seconds };
      drawWeights(byId("lane-weights"), lane, range, this.colours);
      drawEffective(byId("lane-entropy"), lane, range, css("--accent"));
    });
  }

  drawPhonemes([from, to]) {
    const lane = byId("lane-phonemes");
    const scale = lane.clientWidth / (to - from);
    const focused = document.activeElement?.dataset?.segment;
    const inside = [];
    this.segments.forEach((segment, index) => {
      if (segment.end < from || segment.start > to) return;
      const width = (segment.end - segment.start) * scale;
      const button = el("button", {
        type: "button", textContent: width < 9 ? "" : segment.phoneme, tabIndex: index === Math.max(0, this.selected) ? 0 : -1,
        "aria-label": this.describe(segment), title: this.describe(segment),
        onclick: () => this.select(index, true), onkeydown: (event) => this.keys(event, index),
        style: { left: `${(segment.start - from) * scale}px`, width: `${Math.max(2, width)}px` },
      });
      button.dataset.segment = index;
      button.classList.toggle("changed", this.changed?.has(index) ?? false);
      button.classList.toggle("selected", index === this.selected);
      button.style.setProperty("--confidence", CONFIDENCE_OPACITY * (segment.confidence ?? 1));
      inside.push(button);
    });
    fill(lane, inside);
    if (focused !== undefined) lane.querySelector(`[data-segment="${focused}"]`)?.focus({ preventScroll: true });
  }

  describe(segment) {
    const certain = segment.confidence === undefined ? "" : `, ${percent(segment.confidence)} confident`;
    const leading = Object.entries(segment.experts ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 2)
      .map(([name, weight]) => `${name} ${percent(weight)}`).join(", ");
    return `${segment.phoneme}, ${seconds(segment.start)} to ${seconds(segment.end)}${certain}${leading ? `; ${leading}` : ""}`;
  }

  keys(event, index) {
    const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: this.segments.length - 1 }[event.key];
    if (next === undefined || !this.segments[next]) return;
    event.preventDefault();
    this.select(next, false);
    byId("lane-phonemes").querySelector(`[data-segment="${next}"]`)?.focus();
  }

  select(index, play) {
    this.selected = index;
    const segment = this.segments[index];
    this.mark(segment);
    if (play) this.play(segment.start, segment.end);
    else this.wave.setTime(segment.start);
    this.drawPhonemes(this.visible());
    this.dispatchEvent(new CustomEvent("selected", { detail: index }));
  }

  play(start, end) {
    // The browser's audio stops at whole ticks: a phoneme of 30 ms would be silent.
    this.wave.play(start, Math.max(end, start + 0.08));
  }

  mark(segment) {
    byId("readout").textContent = segment
      ? this.describe(segment)
      : "Click a phoneme to play it, drag over the waveform to play a stretch.";
  }

  at(time) {
    byId("clock").textContent = `${time.toFixed(2)} / ${seconds(this.wave.getDuration())}`;
    if (this.wave.isPlaying()) this.tell(time);
  }

  pointAt(event) {
    const [from, to] = this.visible();
    const box = event.currentTarget.getBoundingClientRect();
    this.tell(from + ((event.clientX - box.left) / box.width) * (to - from));
  }

  /** Phoneme and weights at a time, in words. */
  tell(time) {
    const { weights = [], frame_seconds: step, experts = [] } = this.inspection ?? {};
    const frame = weights[Math.min(weights.length - 1, Math.max(0, Math.floor(time / step)))];
    const phoneme = this.segments.find((segment) => segment.start <= time && time < segment.end)?.phoneme ?? "no phoneme";
    const leading = (frame ?? []).map((weight, index) => [experts[index], weight]).sort((a, b) => b[1] - a[1]).slice(0, 3);
    const parts = leading.filter(([, weight]) => weight >= 0.01).map(([name, weight]) => `${name} ${percent(weight)}`);
    const number = frame ? ` · ${effectiveExperts(frame).toFixed(1)} experts` : "";
    byId("readout").textContent = `${seconds(time)} · ${phoneme}${parts.length ? ` · ${parts.join(", ")}` : ""}${number}`;
  }
}

/** Black sound on white paper, as phoneticians print it. */
function darkOnLight() {
  return Array.from({ length: 256 }, (_, index) => {
    const light = 1 - (index / 255) ** 1.4;
    return [light, light, light, 1];
  });
}
