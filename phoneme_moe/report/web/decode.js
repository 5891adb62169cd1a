/* Greedy decoding, as `phoneme-moe transcribe --beam 0`: transcription/pieces.py and decoding/decoder.py. */

const BLANK = 0;

/** Phonemes with times, confidence and mean expert weights, from the outputs of the model. */
export function transcribe({log_posteriors, weights}, settings) {
  const spans = cut(log_posteriors, settings.piece_frames).flatMap((piece) => greedy(log_posteriors, ...piece));
  const times = spread(spans, settings.frame_seconds, settings.most_distance);
  return spans.map(({output, first, last}, i) => {
    const [start, end] = times[i];
    const confidence = meanPosterior(log_posteriors, output, first, last, settings.temperature);
    const from = Math.min(Math.floor(start / settings.frame_seconds), weights.length - 1);
    const to = Math.max(from + 1, Math.min(weights.length, Math.round(end / settings.frame_seconds)));
    return {phoneme: settings.phonemes[output - 1], start, end, confidence, weights: meanWeights(weights, from, to)};
  });
}

/** Mean weight of each expert over frames. */
export function meanWeights(weights, first = 0, last = weights.length) {
  const mean = new Array(weights.columns).fill(0);
  for (let frame = first; frame < last; frame++)
    weights.row(frame).forEach((weight, expert) => { mean[expert] += weight / (last - first); });
  return mean;
}

/** First frame and end of pieces of a limited length, cut at the most probable blank of a piece's second half. */
function cut(log_posteriors, longest) {
  const pieces = [];
  let first = 0;
  while (log_posteriors.length - first > longest) {
    const half = first + Math.floor(longest / 2);
    let best = half;
    for (let frame = half; frame < first + longest; frame++)
      if (log_posteriors.row(frame)[BLANK] > log_posteriors.row(best)[BLANK]) best = frame;
    pieces.push([first, best + 1]);
    first = best + 1;
  }
  pieces.push([first, log_posteriors.length]);
  return pieces;
}

/** The best output of each frame: repetitions merged, blanks removed (Graves et al. 2006, section 3.2). */
function greedy(log_posteriors, first, last) {
  const spans = [];
  let before = BLANK;
  for (let frame = first; frame < last; frame++) {
    const row = log_posteriors.row(frame);
    const output = row.indexOf(Math.max(...row));
    if (output === before && output !== BLANK) spans.at(-1).last = frame + 1;
    else if (output !== BLANK) spans.push({output, first: frame, last: frame + 1});
    before = output;
  }
  return spans;
}

/** Start and end in seconds: a gap is shared by its neighbours, at most `most` seconds each. */
function spread(spans, seconds, most) {
  return spans.map(({first, last}, i) => {
    const middle = (a, b) => Math.floor((a.last + b.first + 1) / 2);
    const start = i > 0 ? middle(spans[i - 1], spans[i]) : first;
    const end = i + 1 < spans.length ? middle(spans[i], spans[i + 1]) : last;
    return [Math.max(start * seconds, first * seconds - most), Math.min(end * seconds, last * seconds + most)];
  });
}

/** Mean probability of an output over frames; a temperature above 1 makes the model less sure (Guo et al. 2017). */
function meanPosterior(log_posteriors, output, first, last, temperature) {
  let sum = 0;
  for (let frame = first; frame < last; frame++) {
    const row = log_posteriors.row(frame), top = Math.max(...row);
    const shares = row.map((value) => Math.exp((value - top) / temperature));
    sum += shares[output] / shares.reduce((total, share) => total + share, 0);
  }
  return Math.min(1, sum / (last - first));
}
