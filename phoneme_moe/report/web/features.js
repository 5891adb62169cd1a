/* Log mel features, as phoneme_moe/features/log_mel_numpy.py computes them. Every setting comes from model.json. */

const SMALLEST = 1e-30;

/** Powers of the frequencies of real frames whose length is a power of two (Cooley and Tukey 1965). */
class Spectrum {
  constructor(size) {
    this.size = size;
    this.real = new Float64Array(size);
    this.imaginary = new Float64Array(size);
    this.powers = new Float64Array(size / 2 + 1);
    const angles = Float64Array.from({length: size / 2}, (_, i) => (-2 * Math.PI * i) / size);
    this.cosines = angles.map(Math.cos);
    this.sines = angles.map(Math.sin);
    this.reversed = new Uint32Array(size); // with the bits in reverse order
    for (let i = 1; i < size; i++) this.reversed[i] = (this.reversed[i >> 1] >> 1) | (i & 1 ? size >> 1 : 0);
  }

  /** Powers of samples[first ...] times the window; samples beyond either end are zero. */
  of(samples, first, window) {
    const {size, real, imaginary, reversed, cosines, sines, powers} = this;
    for (let i = 0; i < size; i++) real[reversed[i]] = (samples[first + i] ?? 0) * window[i];
    imaginary.fill(0);
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half)
        for (let i = 0; i < half; i++) {
          const a = start + i, b = a + half, cosine = cosines[i * stride], sine = sines[i * stride];
          const re = real[b] * cosine - imaginary[b] * sine, im = real[b] * sine + imaginary[b] * cosine;
          real[b] = real[a] - re;
          imaginary[b] = imaginary[a] - im;
          real[a] += re;
          imaginary[a] += im;
        }
    }
    for (let i = 0; i < powers.length; i++) powers[i] = real[i] ** 2 + imaginary[i] ** 2;
    return powers;
  }
}

/** Computes normalised log mel features of waveforms. */
export class FrontEnd {
  constructor(settings) {
    Object.assign(this, settings);
    this.spectrum = new Spectrum(settings.n_fft);
  }

  /** Power in each mel band of every frame, shape (frames, bands) in one array. */
  energies(waveform) {
    const bands = this.filters.length, frames = Math.floor(waveform.length / this.hop);
    const energies = new Float32Array(frames * bands);
    for (let frame = 0; frame < frames; frame++) {
      const powers = this.spectrum.of(waveform, frame * this.hop - this.left, this.window);
      this.filters.forEach(({first, weights}, band) => {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += powers[first + i] * weights[i];
        energies[frame * bands + band] = sum;
      });
    }
    return energies;
  }

  /** Features of a whole recording, shape (frames, bands) in one array. */
  features(waveform) {
    const energies = this.energies(waveform);
    let loudest = 0;
    for (const energy of energies) loudest = Math.max(loudest, energy);
    const floor = Math.fround(Math.max(loudest * 10 ** (-this.dynamic_range_db / 10), SMALLEST));
    const logMel = energies.map((energy) => Math.log(Math.max(energy, floor)));
    const {mean, scale} = this.normalization === "range" ? this.range(logMel) : this.level(logMel, loudest);
    const bands = this.filters.length;
    return logMel.map((value, i) => (value - mean[i % bands]) / scale);
  }

  /** Mean of each band over the frames that are not quiet, and the deviation over all bands. */
  level(logMel, loudest) {
    const bands = this.filters.length, total = new Float64Array(bands);
    const quiet = Math.log(Math.max(loudest, SMALLEST)) - (this.active_range_db / 10) * Math.LN10;
    let count = 0, squares = 0;
    for (let first = 0; first < logMel.length; first += bands) {
      const frame = logMel.subarray(first, first + bands);
      if (!frame.some((value) => value > Math.fround(quiet))) continue;
      count += 1;
      frame.forEach((value, band) => { total[band] += value; squares += value * value; });
    }
    const mean = total.map((sum) => sum / Math.max(count, 1));
    const variance = squares / Math.max(count, 1) - mean.reduce((sum, value) => sum + value * value, 0);
    return {mean: Float32Array.from(mean), scale: Math.max(Math.sqrt(Math.max(variance, 0) / bands), 1e-3)};
  }

  /** One mean, and the greatest distance from it, over all values (Waibel et al. 1989). */
  range(logMel) {
    const mean = logMel.reduce((sum, value) => sum + value, 0) / Math.max(logMel.length, 1);
    const scale = logMel.reduce((most, value) => Math.max(most, Math.abs(value - mean)), 1e-3);
    return {mean: new Float32Array(this.filters.length).fill(mean), scale};
  }
}
