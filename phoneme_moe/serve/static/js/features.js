// Normalised log mel features, the same as phoneme_moe/features/log_mel_numpy.py computes.

/** In place: the Fourier transform of a power of two of complex numbers (Cooley & Tukey 1965). */
function transform(real, imaginary, cosines, sines) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let length = 2; length <= size; length <<= 1) {
    const half = length >> 1;
    const step = size / length;
    for (let start = 0; start < size; start += length) {
      for (let k = 0; k < half; k++) {
        const [cosine, sine] = [cosines[k * step], sines[k * step]];
        const [a, b] = [start + k, start + k + half];
        const re = real[b] * cosine + imaginary[b] * sine;
        const im = imaginary[b] * cosine - real[b] * sine;
        real[b] = real[a] - re;
        imaginary[b] = imaginary[a] - im;
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}

/** Removes a constant offset that is more than noise. */
function withoutOffset(samples, share) {
  let sum = 0;
  for (const sample of samples) sum += sample;
  const mean = sum / samples.length;
  let squares = 0;
  for (const sample of samples) squares += (sample - mean) ** 2;
  if (Math.abs(mean) <= share * Math.sqrt(squares / samples.length)) return samples;
  return samples.map((sample) => sample - Math.fround(mean));
}

/** Power in each mel band of every frame, frames x bands in one array. */
function energies(samples, settings) {
  const { hop, n_fft: size, left, n_mels: bands, window, filters } = settings;
  const frames = Math.floor(samples.length / hop);
  const found = new Float32Array(frames * bands);
  const [real, imaginary] = [new Float64Array(size), new Float64Array(size)];
  const angle = (2 * Math.PI) / size;
  const cosines = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos(k * angle));
  const sines = Float64Array.from({ length: size / 2 }, (_, k) => Math.sin(k * angle));
  const power = new Float64Array(size / 2 + 1);
  for (let frame = 0; frame < frames; frame++) {
    const first = frame * hop - left;
    for (let i = 0; i < size; i++) real[i] = (samples[first + i] ?? 0) * window[i];
    imaginary.fill(0);
    transform(real, imaginary, cosines, sines);
    for (let bin = 0; bin < power.length; bin++) power[bin] = real[bin] ** 2 + imaginary[bin] ** 2;
    filters.forEach(({ first: from, values }, band) => {
      let sum = 0;
      for (let i = 0; i < values.length; i++) sum += power[from + i] * values[i];
      found[frame * bands + band] = sum;
    });
  }
  return found;
}

/**
 * Features of a recording.
 * @param samples Float32Array at the model's rate, one channel.
 * @param settings `front_end` of model.json.
 * @returns {{features: Float32Array, frames: number, silent: boolean}} frames x bands.
 */
export function logMel(samples, settings) {
  const bands = settings.n_mels;
  let peak = 0;
  const centred = withoutOffset(samples, settings.dc_share);
  for (const sample of centred) peak = Math.max(peak, Math.abs(sample));
  const values = energies(centred, settings);
  const frames = values.length / bands;
  let loudest = 0;
  for (const value of values) loudest = Math.max(loudest, value);
  const floor = Math.max(loudest * 10 ** (-settings.dynamic_range_db / 10), 1e-30);
  for (let i = 0; i < values.length; i++) values[i] = Math.log(Math.max(values[i], floor));
  const quiet = Math.log(Math.max(loudest, 1e-30)) - (settings.active_range_db / 10) * Math.log(10);
  const total = new Float64Array(bands);
  let [count, squares] = [0, 0];
  for (let frame = 0; frame < frames; frame++) {
    const row = values.subarray(frame * bands, (frame + 1) * bands);
    if (Math.max(...row) <= quiet) continue;
    count += 1;
    row.forEach((value, band) => { total[band] += value; squares += value * value; });
  }
  const mean = total.map((sum) => sum / Math.max(count, 1));
  const variance = squares / Math.max(count, 1) - mean.reduce((sum, value) => sum + value * value, 0);
  const scale = Math.max(Math.sqrt(Math.max(variance, 0) / bands), 1e-3);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] - mean[i % bands]) / scale;
  return { features: values, frames, silent: peak <= settings.silent_peak };
}
