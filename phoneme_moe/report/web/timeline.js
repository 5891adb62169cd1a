/* The timeline of a recording: waveform, phonemes and expert weights, drawn in shares of its width. */

const COLUMNS = 3000; // of the waveform
const STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60];
const LEAST_TICK = 56; // CSS pixels from tick to tick

const svg = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
const percent = (share) => `${(100 * share).toFixed(4)}%`;

/** Outline of a waveform: least and greatest sample of each column. */
export function drawWave(element, waveform) {
  const columns = Math.min(COLUMNS, waveform.length);
  const peak = waveform.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1e-6);
  const upper = [], lower = [];
  for (let column = 0; column < columns; column++) {
    let least = Infinity, most = -Infinity;
    const end = Math.floor(((column + 1) * waveform.length) / columns);
    for (let i = Math.floor((column * waveform.length) / columns); i < end; i++) {
      least = Math.min(least, waveform[i]);
      most = Math.max(most, waveform[i]);
    }
    upper.push(`${column} ${(-most / peak - 0.01).toFixed(3)}`);
    lower.push(`${column} ${(-least / peak + 0.01).toFixed(3)}`);
  }
  element.setAttribute("viewBox", `0 -1.02 ${columns} 2.04`);
  element.replaceChildren(svg("path", {d: `M${upper.join("L")}L${lower.reverse().join("L")}Z`}));
}

/** Stacked weights of the experts, a step for each frame. */
export function drawWeights(element, weights, share) {
  const tops = Array.from({length: weights.length}, () => 0);
  const paths = [];
  for (let expert = 0; expert < weights.columns; expert++) {
    const bottoms = tops.slice();
    for (let frame = 0; frame < tops.length; frame++) tops[frame] += weights.values[frame * weights.columns + expert];
    const steps = (heights) => heights.map((height, frame) => [frame, frame + 1].map((x) => `${x} ${height.toFixed(4)}`));
    const outline = [...steps(tops).flat(), ...steps(bottoms).flat().reverse()];
    paths.push(svg("path", {d: `M${outline.join("L")}Z`, class: `e${expert}`}));
  }
  element.setAttribute("viewBox", `0 0 ${weights.length} 1`);
  element.style.width = percent(share);
  element.replaceChildren(...paths);
}

/** A button for each phoneme; arrow keys move among them. */
export function drawPhonemes(element, segments, duration, {play, describe}) {
  const buttons = segments.map(({phoneme, start, end, confidence}, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = phoneme;
    button.className = `w${Math.round(100 * confidence)}`;
    button.tabIndex = i ? -1 : 0;
    button.style.left = percent(start / duration);
    button.style.width = percent((end - start) / duration);
    const words = `${phoneme}, ${start.toFixed(2)} to ${end.toFixed(2)} s, confidence ${(100 * confidence).toFixed(0)} %`;
    button.setAttribute("aria-label", words);
    button.title = words;
    button.addEventListener("click", () => play(start, end));
    button.addEventListener("focus", () => describe((start + end) / 2));
    return button;
  });
  element.onkeydown = ({key, target}) => {
    const now = buttons.indexOf(target);
    const next = {ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: buttons.length - 1}[key];
    if (next === undefined || !buttons[next]) return true;
    target.tabIndex = -1;
    buttons[next].tabIndex = 0;
    buttons[next].focus();
    return false;
  };
  element.replaceChildren(...buttons);
}

/** Times below the timeline, as many as there is room for. */
export function drawTicks(element, duration) {
  const width = element.clientWidth || 1;
  const step = STEPS.find((one) => (one / duration) * width >= LEAST_TICK) ?? 120;
  const ticks = [];
  for (let i = 0; i * step < duration - 0.3 * step; i++) {
    const tick = document.createElement("span");
    tick.textContent = `${+(i * step).toFixed(2)} s`;
    tick.style.left = percent((i * step) / duration);
    ticks.push(tick);
  }
  element.replaceChildren(...ticks);
}
