// Scores of Gaussians for words, as gsdff/field/relevancy.py computes them.

export const TEMPERATURE = 0.1;
export const VOID = 255;
const MIN_NORM = 1e-8;
const NUM_BINS = 256;
// Gaussians that are computed at a time, so that they stay near the processor, and vectors whose weights are remembered
// (4 bytes a Gaussian each).
const CHUNK = 4096;
const MOST_REMEMBERED = 12;
const RANGE_BINS = 4096;

export type Latents = { values: Int8Array; rows: number; columns: number; step: number };

// Factor that makes every latent one of length 1; 0 where nothing is.
export function factorsOf({ values, rows, columns, step }: Latents): Float32Array {
  const factors = new Float32Array(rows);
  const squares = new Int32Array(CHUNK);
  for (let first = 0; first < rows; first += CHUNK) {
    const count = Math.min(CHUNK, rows - first);
    squares.fill(0);
    for (let k = 0; k < columns; k++) {
      for (let i = 0, at = k * rows + first; i < count; i++, at++) squares[i] += values[at] * values[at];
    }
    for (let i = 0; i < count; i++) {
      const length = Math.sqrt(squares[i]);
      if (step * length >= MIN_NORM) factors[first + i] = 1 / length;
    }
  }
  return factors;
}

// Products of one vector with `count` latents from `first` on, in their own steps.
function multiply({ values, rows, columns }: Latents, vector: Float32Array, first: number, count: number, out: Float64Array): void {
  out.fill(0, 0, count);
  let k = 0;
  // eight columns at a time, or four: the sums are read and written less often
  for (; k + 8 <= columns; k += 8) {
    const [a, b, c, d, e, f, g, h] = vector.subarray(k, k + 8);
    const from = k * rows + first;
    const [second, third, fourth] = [from + rows, from + 2 * rows, from + 3 * rows];
    const [fifth, sixth, seventh, eighth] = [from + 4 * rows, from + 5 * rows, from + 6 * rows, from + 7 * rows];
    for (let i = 0; i < count; i++) {
      const sum = out[i] + (a * values[from + i] + b * values[second + i] + c * values[third + i] + d * values[fourth + i]);
      out[i] = sum + (e * values[fifth + i] + f * values[sixth + i] + g * values[seventh + i] + h * values[eighth + i]);
    }
  }
  for (; k + 4 <= columns; k += 4) {
    const [a, b, c, d] = [vector[k], vector[k + 1], vector[k + 2], vector[k + 3]];
    const from = k * rows + first;
    const [second, third, fourth] = [from + rows, from + 2 * rows, from + 3 * rows];
    for (let i = 0; i < count; i++) {
      out[i] += a * values[from + i] + b * values[second + i] + c * values[third + i] + d * values[fourth + i];
    }
  }
  for (; k < columns; k++) {
    const factor = vector[k];
    for (let i = 0, at = k * rows + first; i < count; i++, at++) out[i] += factor * values[at];
  }
}

// exp at steps between which two terms of the series are exact to 1e-9; a cosine over the temperature is within its range.
const STEPS = 512;
const LARGEST = 11;
const POWERS = Float64Array.from({ length: 2 * LARGEST * STEPS + 1 }, (_, i) => Math.exp(i / STEPS - LARGEST));

export function exponential(x: number): number {
  const at = (x + LARGEST) * STEPS;
  if (!(at >= 0 && at < POWERS.length - 1)) return Math.exp(x);
  const step = (at + 0.5) | 0;
  const rest = (at - step) / STEPS;
  return POWERS[step] * (1 + rest * (1 + rest * 0.5));
}

// What has been computed of the first `count` vectors: the sum of all, and weights by a vector's number.
export type Shared = { count: number; total: Float64Array | null; weights: [number, Float32Array][] };

// exp(cosine / temperature) of all Gaussians with vectors by their number; those of the last few are remembered.
export class Similarities {
  // As `factorsOf` has them.
  readonly factors: Float32Array;
  private readonly remembered = new Map<number, Float32Array>();
  private total: Float64Array | null = null;
  private readonly products = new Float64Array(CHUNK);

  constructor(
    readonly latents: Latents,
    readonly vectors: Float32Array[],
  ) {
    this.factors = factorsOf(latents);
  }

  // Adds vectors, whose numbers follow those of the others.
  add(vectors: Float32Array[]): void {
    const fresh = vectors.map((_, i) => this.vectors.length + i);
    this.vectors.push(...vectors);
    if (this.total) this.accumulate(this.total, fresh, 1);
  }

  get numRows(): number {
    return this.latents.rows;
  }

  // What has been computed, of weights those of some vectors, for another object with the same latents.
  share(ids: number[]): Shared {
    const weights = [...this.remembered].filter(([id]) => ids.includes(id));
    return { count: this.vectors.length, total: this.total, weights };
  }

  take({ total, weights }: Shared): void {
    this.total ??= total;
    for (const [id, values] of weights) this.remember(id, values);
  }

  // Number of vectors that a question would have to compute.
  numMissing(positives: number[], negatives: number[]): number {
    const all = () => this.vectors.map((_, id) => id);
    const needed = (ids: number[]) => {
      const others = this.others(ids);
      return others.length >= ids.length || ids.length === 1 ? ids : this.total ? others : all();
    };
    const ids = new Set([...needed(positives), ...needed([...positives, ...negatives])]);
    return [...ids].filter((id) => !this.remembered.has(id)).length;
  }

  private others(ids: number[]): number[] {
    const isIn = new Set(ids);
    return this.vectors.map((_, id) => id).filter((id) => !isIn.has(id));
  }

  // Sum over vectors, to be read only; of most of them it is that of all without the others.
  sum(ids: number[]): Float32Array | Float64Array {
    if (ids.length === 1) return this.of(ids[0]);
    const others = this.others(ids);
    if (others.length >= ids.length) return this.accumulate(new Float64Array(this.numRows), ids, 1);
    const all = this.vectors.map((_, id) => id);
    this.total ??= this.accumulate(new Float64Array(this.numRows), all, 1);
    return others.length ? this.accumulate(this.total.slice(), others, -1) : this.total;
  }

  private accumulate(sum: Float64Array, ids: number[], sign: number): Float64Array {
    // more than are remembered would only push one another out
    const isFew = ids.length <= MOST_REMEMBERED;
    const known = ids.map((id) => (isFew ? this.of(id) : this.remembered.get(id)));
    const weights = new Float32Array(CHUNK);
    for (let first = 0; first < sum.length; first += CHUNK) {
      const count = Math.min(CHUNK, sum.length - first);
      ids.forEach((id, i) => {
        const found = known[i];
        if (!found) this.weigh(id, first, count, weights, 0);
        add(sum, first, found ?? weights, found ? first : 0, count, sign);
      });
    }
    return sum;
  }

  private of(id: number): Float32Array {
    const found = this.remembered.get(id) ?? this.compute(id);
    this.remember(id, found);
    return found;
  }

  // The one that was used last is the last to be forgotten.
  private remember(id: number, values: Float32Array): void {
    this.remembered.delete(id);
    this.remembered.set(id, values);
    if (this.remembered.size > MOST_REMEMBERED) this.remembered.delete(this.remembered.keys().next().value!);
  }

  private compute(id: number): Float32Array {
    const found = new Float32Array(this.numRows);
    for (let first = 0; first < found.length; first += CHUNK) {
      this.weigh(id, first, Math.min(CHUNK, found.length - first), found, first);
    }
    return found;
  }

  // Writes the weights of `count` Gaussians from `first` on.
  private weigh(id: number, first: number, count: number, out: Float32Array, at: number): void {
    const { products, factors } = this;
    multiply(this.latents, this.vectors[id], first, count, products);
    for (let i = 0; i < count; i++) out[at + i] = exponential((products[i] * factors[first + i]) / TEMPERATURE);
  }
}

function add(sum: Float64Array, first: number, values: Float32Array, from: number, count: number, sign: number): void {
  for (let i = 0; i < count; i++) sum[first + i] += sign * values[from + i];
}

// Share of the positives in a softmax of cosine / temperature over positives and negatives.
export function relevancy(similarities: Similarities, positives: number[], negatives: number[]): Float32Array {
  const { numRows, factors } = similarities;
  const asked = [...positives, ...negatives];
  const scores = new Float32Array(numRows);
  const above = similarities.sum(positives);
  if (new Set(asked).size === asked.length) {
    const all = similarities.sum(asked);
    for (let row = 0; row < numRows; row++) if (factors[row] > 0) scores[row] = above[row] / all[row];
  } else {
    // what is on both sides counts twice
    const below = similarities.sum(negatives);
    for (let row = 0; row < numRows; row++) if (factors[row] > 0) scores[row] = above[row] / (above[row] + below[row]);
  }
  return scores;
}

export type Scored = { scores: Float32Array; threshold: number; range: [number, number] };

// Scores with the threshold and the range of the first `numBefore` Gaussians, which are the run's own.
export function score(similarities: Similarities, positives: number[], negatives: number[], numBefore: number): Scored {
  const scores = relevancy(similarities, positives, negatives);
  const own = scores.subarray(0, numBefore);
  return { scores, threshold: suggestThreshold(own, similarities.factors), range: scoreRange(own) };
}

// Index of the best vector for every Gaussian, the first among equals.
export function classify({ latents, factors, vectors }: Similarities, ids: number[]): Uint8Array {
  const { rows } = latents;
  const labels = new Uint8Array(rows).fill(VOID);
  const [products, best] = [new Float64Array(CHUNK), new Float64Array(CHUNK)];
  for (let first = 0; first < rows; first += CHUNK) {
    const count = Math.min(CHUNK, rows - first);
    best.fill(-Infinity);
    ids.forEach((id, index) => {
      multiply(latents, vectors[id], first, count, products);
      for (let i = 0; i < count; i++) {
        if (products[i] > best[i] && factors[first + i] > 0) {
          best[i] = products[i];
          labels[first + i] = index;
        }
      }
    });
  }
  return labels;
}

// Otsu's threshold: between two classes of scores, the upper one is scores >= it. Scores whose factor is 0 do not count.
export function suggestThreshold(scores: Float32Array, factors: ArrayLike<number>): number {
  let num = 0;
  let low = Infinity;
  let high = -Infinity;
  for (let row = 0; row < scores.length; row++) {
    const value = scores[row];
    if (!(factors[row] > 0 && Math.abs(value) < Infinity)) continue;
    num++;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low < high)) return num ? low : 0;
  const counts = new Float64Array(NUM_BINS);
  const least = new Float64Array(NUM_BINS).fill(Infinity);
  const most = new Float64Array(NUM_BINS).fill(-Infinity);
  const range = high - low;
  for (let row = 0; row < scores.length; row++) {
    const value = scores[row];
    if (!(factors[row] > 0 && Math.abs(value) < Infinity)) continue;
    const place = (((value - low) / range) * NUM_BINS) | 0;
    const bin = place < NUM_BINS ? place : NUM_BINS - 1;
    counts[bin]++;
    if (value < least[bin]) least[bin] = value;
    if (value > most[bin]) most[bin] = value;
  }
  let sum = 0;
  counts.forEach((count, bin) => (sum += count * bin));
  let [numBelow, sumBelow, cut, widest] = [0, 0, 0, -Infinity];
  for (let bin = 0; bin < NUM_BINS - 1; bin++) {
    numBelow += counts[bin];
    sumBelow += counts[bin] * bin;
    const numAbove = num - numBelow;
    const between = numBelow * numAbove * ((sum - sumBelow) / numAbove - sumBelow / numBelow) ** 2;
    if (between > widest) [cut, widest] = [bin, between];
  }
  return (Math.max(...most.subarray(0, cut + 1)) + Math.min(...least.subarray(cut + 1))) / 2;
}

// Scores between which pictures show colours: all but the outermost thousandth, to a step of 1/4096.
export function scoreRange(scores: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let row = 0; row < scores.length; row++) {
    const value = scores[row];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low < high)) return [low, high];
  const counts = new Uint32Array(RANGE_BINS + 1);
  const scale = RANGE_BINS / (high - low);
  for (let row = 0; row < scores.length; row++) counts[((scores[row] - low) * scale) | 0]++;
  const leftOut = Math.floor(scores.length / 1000);
  let [first, last] = [0, RANGE_BINS];
  for (let seen = counts[first]; seen <= leftOut; seen += counts[first]) first++;
  for (let seen = counts[last]; seen <= leftOut; seen += counts[last]) last--;
  return [low + first / scale, Math.min(low + (last + 1) / scale, high)];
}
