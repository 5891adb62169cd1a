// A picture of the last seconds that moves on: each moment is painted once, and shown by copying.

import { prepare } from "./lanes.js";

export class Scroller {
  /** @param canvas on the page, of a fixed height. @param window seconds that it shows. */
  constructor(canvas, window) {
    this.canvas = canvas;
    this.window = window;
    this.now = 0;
    this.ring = document.createElement("canvas"); // the moments of one window, side by side, around and around
  }

  /** Goes on to a time; what is painted for it must come later. */
  advance(now) {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (this.ring.width !== wide || this.ring.height !== high) [this.ring.width, this.ring.height] = [wide, high];
    this.paint(this.now, Math.max(now, this.now), (context, x, width_, height_) => context.clearRect(x, 0, width_, height_));
    this.now = now;
  }

  /** Calls `draw(context, x, width, height)` for the place of a stretch of time, in pixels of the ring. */
  paint(from, to, draw) {
    if (to < this.now - this.window) return;
    const scale = this.ring.width / this.window;
    let [start, end] = [from * scale, to * scale];
    if (end - start > this.ring.width) start = end - this.ring.width;
    const context = this.ring.getContext("2d");
    while (start < end - 1e-6) {
      const x = start % this.ring.width;
      const part = Math.min(end - start, this.ring.width - x);
      draw(context, x, part, this.ring.height);
      start += Math.max(part, 1e-3);
    }
  }

  /** Copies the ring to the canvas, the present at the right edge. */
  show() {
    const { context, width, height } = prepare(this.canvas);
    const edge = Math.round((this.now / this.window) * this.ring.width) % this.ring.width;
    const old = this.ring.width - edge;
    const left = (old / this.ring.width) * width;
    context.imageSmoothingEnabled = false;
    if (old > 0) context.drawImage(this.ring, edge, 0, old, this.ring.height, 0, 0, left, height);
    if (edge > 0) context.drawImage(this.ring, 0, 0, edge, this.ring.height, left, 0, width - left, height);
    return { context, width, height };
  }
}
