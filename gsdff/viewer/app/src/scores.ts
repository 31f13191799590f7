// Scores of Gaussians for words, as gsdff/field/relevancy.py computes them.

export const TEMPERATURE = 0.1;
export const VOID = 255;
const MIN_NORM = 1e-8;
const NUM_BINS = 256;

export type Latents = { values: Int8Array; rows: number; columns: number; step: number };

// Length of every latent; 0 means that nothing is there.
export function lengthsOf({ values, rows, columns, step }: Latents): Float64Array {
  const squares = new Float64Array(rows);
  for (let k = 0; k < columns; k++) {
    for (let row = 0, at = k * rows; row < rows; row++, at++) squares[row] += values[at] * values[at];
  }
  return squares.map((square) => step * Math.sqrt(square));
}

// Cosines with one vector, into `out`.
function cosines(latents: Latents, lengths: Float64Array, vector: Float32Array, out: Float64Array): Float64Array {
  const { values, rows, columns, step } = latents;
  out.fill(0);
  for (let k = 0; k < columns; k++) {
    const factor = vector[k] * step;
    for (let row = 0, at = k * rows; row < rows; row++, at++) out[row] += factor * values[at];
  }
  for (let row = 0; row < rows; row++) out[row] /= Math.max(lengths[row], MIN_NORM);
  return out;
}

// Share of the positives in a softmax of cosine / temperature over positives and negatives.
export function relevancy(
  latents: Latents,
  lengths: Float64Array,
  positives: Float32Array[],
  negatives: Float32Array[],
): Float32Array {
  const { rows } = latents;
  const sums = [new Float64Array(rows), new Float64Array(rows)];
  const cosine = new Float64Array(rows);
  [positives, negatives].forEach((vectors, side) => {
    for (const vector of vectors) {
      cosines(latents, lengths, vector, cosine);
      const sum = sums[side];
      for (let row = 0; row < rows; row++) sum[row] += Math.exp(cosine[row] / TEMPERATURE);
    }
  });
  const scores = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    if (lengths[row] >= MIN_NORM) scores[row] = sums[0][row] / (sums[0][row] + sums[1][row]);
  }
  return scores;
}

// Index of the best vector for every Gaussian, the first among equals.
export function classify(latents: Latents, lengths: Float64Array, vectors: Float32Array[]): Uint8Array {
  const { rows } = latents;
  const best = new Float64Array(rows).fill(-Infinity);
  const labels = new Uint8Array(rows).fill(VOID);
  const cosine = new Float64Array(rows);
  vectors.forEach((vector, index) => {
    cosines(latents, lengths, vector, cosine);
    for (let row = 0; row < rows; row++) {
      if (lengths[row] >= MIN_NORM && cosine[row] > best[row]) {
        best[row] = cosine[row];
        labels[row] = index;
      }
    }
  });
  return labels;
}

// Otsu's threshold: between two classes of scores, the upper one is scores >= it.
export function suggestThreshold(scores: Float32Array, lengths: Float64Array): number {
  const values = scores.filter((score, row) => lengths[row] >= MIN_NORM && Number.isFinite(score));
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(low < high)) return values.length ? low : 0;
  const counts = new Float64Array(NUM_BINS);
  const bins = new Uint8Array(values.length);
  values.forEach((value, i) => {
    bins[i] = Math.min(NUM_BINS - 1, Math.floor(((value - low) / (high - low)) * NUM_BINS));
    counts[bins[i]]++;
  });
  let sum = 0;
  counts.forEach((count, bin) => (sum += count * bin));
  let [numBelow, sumBelow, cut, most] = [0, 0, 0, -Infinity];
  for (let bin = 0; bin < NUM_BINS - 1; bin++) {
    numBelow += counts[bin];
    sumBelow += counts[bin] * bin;
    const numAbove = values.length - numBelow;
    const between = numBelow * numAbove * ((sum - sumBelow) / numAbove - sumBelow / numBelow) ** 2;
    if (between > most) [cut, most] = [bin, between];
  }
  let [below, above] = [-Infinity, Infinity];
  values.forEach((value, i) => {
    if (bins[i] <= cut) below = Math.max(below, value);
    else above = Math.min(above, value);
  });
  return (below + above) / 2;
}

// Scores between which pictures show colours: all but the outermost thousandth.
export function scoreRange(scores: Float32Array): [number, number] {
  const sorted = scores.slice().sort();
  const leftOut = Math.floor(sorted.length / 1000);
  return [sorted[leftOut], sorted[sorted.length - 1 - leftOut]];
}
