// Drawing of weights over time on canvases, sharp on every screen; the same for recordings and live.

/** A canvas cleared and scaled so that one unit is one CSS pixel. */
export function prepare(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Mean weights of the frames between two times; null where there are none. */
function meanWeights(frames, from, to, frameSeconds, start) {
  const first = Math.max(0, Math.floor((from - start) / frameSeconds));
  const last = Math.min(frames.length, Math.max(first + 1, Math.ceil((to - start) / frameSeconds)));
  if (first >= frames.length || last <= 0) return null;
  if (last - first === 1) return frames[first];
  const mean = new Array(frames[first].length).fill(0);
  for (let frame = first; frame < last; frame++) frames[frame].forEach((weight, expert) => { mean[expert] += weight; });
  return mean.map((sum) => sum / (last - first));
}

/** Stacked weights between two times, the first expert at the bottom. */
export function drawWeights(canvas, { frames, frameSeconds, start = 0 }, [from, to], colours) {
  const { context, width, height } = prepare(canvas);
  if (!frames.length) return;
  const step = (to - from) / width;
  for (let x = 0; x < width; x++) {
    const weights = meanWeights(frames, from + x * step, from + (x + 1) * step, frameSeconds, start);
    if (!weights) continue;
    let bottom = height;
    weights.forEach((weight, expert) => {
      const top = bottom - weight * height;
      context.fillStyle = colours[expert % colours.length];
      // Half a pixel more than its share hides the seams between columns.
      context.fillRect(x, top, 1.5, bottom - top);
      bottom = top;
    });
  }
}

export function effectiveExperts(weights) {
  const entropy = weights.reduce((sum, weight) => sum - (weight > 0 ? weight * Math.log(weight) : 0), 0);
  return Math.exp(entropy);
}

/** The effective number of experts between two times, from 1 to all. */
export function drawEffective(canvas, { frames, frameSeconds, start = 0 }, [from, to], colour) {
  const { context, width, height } = prepare(canvas);
  if (!frames.length || frames[0].length < 2) return;
  const most = frames[0].length;
  const step = (to - from) / width;
  const y = (number) => height - 3 - ((number - 1) / (most - 1)) * (height - 6);
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.beginPath();
  let drawing = false;
  for (let x = 0; x < width; x++) {
    const weights = meanWeights(frames, from + x * step, from + (x + 1) * step, frameSeconds, start);
    if (!weights) { drawing = false; continue; }
    const height_ = y(effectiveExperts(weights));
    if (drawing) context.lineTo(x, height_);
    else context.moveTo(x, height_);
    drawing = true;
  }
  context.stroke();
}

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
