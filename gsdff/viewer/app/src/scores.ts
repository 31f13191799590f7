// Scores of Gaussians for words, as gsdff/field/relevancy.py computes them.

export const TEMPERATURE = 0.1;
export const VOID = 255;
const MIN_NORM = 1e-8;
const NUM_BINS = 256;
// Gaussians of which sums are made at a time, and vectors whose similarities are remembered (4 bytes a Gaussian each).
const CHUNK = 4096;
const MOST_REMEMBERED = 12;
const RANGE_BINS = 4096;

export type Latents = { values: Int8Array; rows: number; columns: number; step: number };

// Length of every latent; 0 means that nothing is there.
export function lengthsOf({ values, rows, columns, step }: Latents): Float64Array {
  const squares = new Float64Array(rows);
  for (let k = 0; k < columns; k++) {
    for (let row = 0, at = k * rows; row < rows; row++, at++) squares[row] += values[at] * values[at];
  }
  return squares.map((square) => step * Math.sqrt(square));
}

// Cosines with one vector, of `count` Gaussians from `first` on. Few at a time, so that the sums stay near the processor.
function cosines(latents: Latents, lengths: Float64Array, vector: Float32Array, first: number, out: Float64Array): void {
  const { values, rows, columns, step } = latents;
  const count = Math.min(out.length, rows - first);
  out.fill(0);
  for (let k = 0; k < columns; k++) {
    const factor = vector[k] * step;
    for (let i = 0, at = k * rows + first; i < count; i++, at++) out[i] += factor * values[at];
  }
  for (let i = 0; i < count; i++) out[i] /= Math.max(lengths[first + i], MIN_NORM);
}

// exp(cosine / temperature) of all Gaussians with vectors by their number; those of the last few are remembered.
export class Similarities {
  readonly lengths: Float64Array;
  private readonly remembered = new Map<number, Float32Array>();
  private total: Float64Array | null = null;

  constructor(
    readonly latents: Latents,
    readonly vectors: Float32Array[],
  ) {
    this.lengths = lengthsOf(latents);
  }

  // Adds vectors, whose numbers follow those of the others.
  add(vectors: Float32Array[]): void {
    this.vectors.push(...vectors);
    this.total = null;
  }

  get numRows(): number {
    return this.latents.rows;
  }

  // Sum over vectors; of most of them it is that of all without the others.
  sum(ids: number[]): Float64Array {
    const isIn = new Set(ids);
    const others = this.vectors.map((_, id) => id).filter((id) => !isIn.has(id));
    if (others.length >= ids.length) return this.accumulate(new Float64Array(this.numRows), ids, 1);
    this.total ??= this.accumulate(
      new Float64Array(this.numRows),
      this.vectors.map((_, id) => id),
      1,
    );
    return this.accumulate(this.total.slice(), others, -1);
  }

  private accumulate(sum: Float64Array, ids: number[], sign: number): Float64Array {
    for (const id of ids) {
      const values = this.of(id);
      for (let row = 0; row < sum.length; row++) sum[row] += sign * values[row];
    }
    return sum;
  }

  private of(id: number): Float32Array {
    const found = this.remembered.get(id) ?? this.compute(this.vectors[id]);
    // the one that was used last is the last to be forgotten
    this.remembered.delete(id);
    this.remembered.set(id, found);
    if (this.remembered.size > MOST_REMEMBERED) this.remembered.delete(this.remembered.keys().next().value!);
    return found;
  }

  private compute(vector: Float32Array): Float32Array {
    const found = new Float32Array(this.numRows);
    const cosine = new Float64Array(CHUNK);
    for (let first = 0; first < found.length; first += CHUNK) {
      cosines(this.latents, this.lengths, vector, first, cosine);
      const count = Math.min(CHUNK, found.length - first);
      for (let i = 0; i < count; i++) found[first + i] = Math.exp(cosine[i] / TEMPERATURE);
    }
    return found;
  }
}

// Share of the positives in a softmax of cosine / temperature over positives and negatives.
export function relevancy(similarities: Similarities, positives: number[], negatives: number[]): Float32Array {
  const { numRows, lengths } = similarities;
  const [above, below] = [similarities.sum(positives), similarities.sum(negatives)];
  const scores = new Float32Array(numRows);
  for (let row = 0; row < numRows; row++) {
    if (lengths[row] >= MIN_NORM) scores[row] = above[row] / (above[row] + below[row]);
  }
  return scores;
}

// Index of the best vector for every Gaussian, the first among equals.
export function classify({ latents, lengths, vectors }: Similarities, ids: number[]): Uint8Array {
  const { rows } = latents;
  const labels = new Uint8Array(rows).fill(VOID);
  const [cosine, best] = [new Float64Array(CHUNK), new Float64Array(CHUNK)];
  for (let first = 0; first < rows; first += CHUNK) {
    const count = Math.min(CHUNK, rows - first);
    best.fill(-Infinity);
    ids.forEach((id, index) => {
      cosines(latents, lengths, vectors[id], first, cosine);
      for (let i = 0; i < count; i++) {
        if (cosine[i] > best[i] && lengths[first + i] >= MIN_NORM) {
          best[i] = cosine[i];
          labels[first + i] = index;
        }
      }
    });
  }
  return labels;
}

// Otsu's threshold: between two classes of scores, the upper one is scores >= it.
export function suggestThreshold(scores: Float32Array, lengths: Float64Array): number {
  const values = new Float32Array(scores.length);
  let num = 0;
  let low = Infinity;
  let high = -Infinity;
  for (let row = 0; row < scores.length; row++) {
    const value = scores[row];
    if (lengths[row] < MIN_NORM || !Number.isFinite(value)) continue;
    values[num++] = value;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low < high)) return num ? low : 0;
  const counts = new Float64Array(NUM_BINS);
  const bins = new Uint8Array(num);
  for (let i = 0; i < num; i++) {
    bins[i] = Math.min(NUM_BINS - 1, Math.floor(((values[i] - low) / (high - low)) * NUM_BINS));
    counts[bins[i]]++;
  }
  let sum = 0;
  counts.forEach((count, bin) => (sum += count * bin));
  let [numBelow, sumBelow, cut, most] = [0, 0, 0, -Infinity];
  for (let bin = 0; bin < NUM_BINS - 1; bin++) {
    numBelow += counts[bin];
    sumBelow += counts[bin] * bin;
    const numAbove = num - numBelow;
    const between = numBelow * numAbove * ((sum - sumBelow) / numAbove - sumBelow / numBelow) ** 2;
    if (between > most) [cut, most] = [bin, between];
  }
  let [below, above] = [-Infinity, Infinity];
  for (let i = 0; i < num; i++) {
    if (bins[i] <= cut) below = Math.max(below, values[i]);
    else above = Math.min(above, values[i]);
  }
  return (below + above) / 2;
}

// Scores between which pictures show colours: all but the outermost thousandth, to a step of 1/4096.
export function scoreRange(scores: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let row = 0; row < scores.length; row++) {
    if (scores[row] < low) low = scores[row];
    if (scores[row] > high) high = scores[row];
  }
  if (!(low < high)) return [low, high];
  const counts = new Uint32Array(RANGE_BINS + 1);
  const scale = RANGE_BINS / (high - low);
  for (let row = 0; row < scores.length; row++) counts[Math.floor((scores[row] - low) * scale)]++;
  const leftOut = Math.floor(scores.length / 1000);
  let [first, last] = [0, RANGE_BINS];
  for (let seen = counts[first]; seen <= leftOut; seen += counts[first]) first++;
  for (let seen = counts[last]; seen <= leftOut; seen += counts[last]) last--;
  return [low + first / scale, Math.min(low + (last + 1) / scale, high)];
}
