// The rim of what a text selects: neighbours that may be part of it, as gsdff/field/search.py and Selection.with_rim have it.

// A score below this share of the threshold is clearly something else.
const LEAST_SHARE = 0.01;
// A Gaussian joins if so many of so many neighbours are selected.
export const NEIGHBOURS = 32;
const QUORUM = 4;
const LEAF = 12;

// What may be part of the rim.
export function possibleRim(scores: Float32Array, threshold: number, there: Uint8Array): Uint8Array {
  return there.map((is, row) => (is && scores[row] > 0 && scores[row] >= LEAST_SHARE * threshold ? 1 : 0));
}

// A selection of what is there, with the possible Gaussians of whose nearest neighbours enough are selected.
export function withRim(positions: Float32Array, there: Uint8Array, selected: Uint8Array, possible: Uint8Array): Uint8Array {
  const found = selected.slice();
  const tree = new Tree(positions, there);
  for (let row = 0; row < possible.length; row++) {
    if (!possible[row] || selected[row] || !there[row]) continue;
    const near = tree.nearest(row, NEIGHBOURS);
    let votes = 0;
    for (const other of near) votes += selected[other];
    if (votes >= QUORUM) found[row] = 1;
  }
  return found;
}

// Points in a balanced tree: each part is cut in the middle of its longest side until few are left.
export class Tree {
  private readonly rows: Uint32Array;
  // Coordinates in the order of the tree, which lie together that are near one another.
  private readonly points: Float32Array;
  // The axis that each cut is across, and where; parts are numbered as in a heap.
  private readonly axes: Uint8Array;
  private readonly cuts: Float32Array;
  private readonly depth: number;
  // The nearest so far, the farthest of them last.
  private distances = new Float64Array(0);
  private nearby = new Uint32Array(0);
  private count = 0;

  constructor(
    private readonly positions: Float32Array,
    there: Uint8Array,
  ) {
    this.rows = Uint32Array.from(there.keys()).filter((row) => there[row] === 1);
    this.depth = Math.max(0, Math.ceil(Math.log2(this.rows.length / LEAF)));
    this.axes = new Uint8Array(2 ** this.depth);
    this.cuts = new Float32Array(2 ** this.depth);
    if (this.depth) this.split(1, 0, this.rows.length);
    this.points = new Float32Array(3 * this.rows.length);
    this.rows.forEach((row, i) => this.points.set(positions.subarray(3 * row, 3 * row + 3), 3 * i));
  }

  private split(part: number, from: number, to: number): void {
    const { positions, rows } = this;
    const [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]];
    for (let i = from; i < to; i++) {
      for (let axis = 0, at = 3 * rows[i]; axis < 3; axis++, at++) {
        const value = positions[at];
        if (value < low[axis]) low[axis] = value;
        if (value > high[axis]) high[axis] = value;
      }
    }
    const sides = high.map((value, axis) => value - low[axis]);
    const axis = sides.indexOf(Math.max(...sides));
    const middle = (from + to) >> 1;
    this.partition(from, to - 1, middle, axis);
    this.axes[part] = axis;
    this.cuts[part] = positions[3 * rows[middle] + axis];
    if (2 * part >= this.axes.length) return;
    this.split(2 * part, from, middle);
    this.split(2 * part + 1, middle, to);
  }

  // Puts the row whose coordinate is in the middle there, those that are lower before it and the others after.
  private partition(low: number, high: number, middle: number, axis: number): void {
    const { positions, rows } = this;
    while (low < high) {
      const pivot = positions[3 * rows[(low + high) >> 1] + axis];
      let [i, j] = [low, high];
      while (i <= j) {
        while (positions[3 * rows[i] + axis] < pivot) i++;
        while (positions[3 * rows[j] + axis] > pivot) j--;
        if (i > j) break;
        const row = rows[i];
        rows[i++] = rows[j];
        rows[j--] = row;
      }
      if (middle <= j) high = j;
      else if (middle >= i) low = i;
      else return;
    }
  }

  // Rows of the points that are nearest to that of a row, which is not among them; fewer if there are fewer.
  nearest(row: number, most: number): Uint32Array {
    if (this.nearby.length !== most) [this.distances, this.nearby] = [new Float64Array(most), new Uint32Array(most)];
    this.count = 0;
    const [x, y, z] = this.positions.subarray(3 * row, 3 * row + 3);
    this.visit(1, 0, this.rows.length, row, x, y, z);
    return this.nearby.subarray(0, this.count);
  }

  private visit(part: number, from: number, to: number, row: number, x: number, y: number, z: number): void {
    if (part >= this.axes.length) return this.look(from, to, row, x, y, z);
    const axis = this.axes[part];
    const away = (axis === 0 ? x : axis === 1 ? y : z) - this.cuts[part];
    const middle = (from + to) >> 1;
    if (away < 0) this.visit(2 * part, from, middle, row, x, y, z);
    else this.visit(2 * part + 1, middle, to, row, x, y, z);
    if (this.count === this.nearby.length && away * away >= this.distances[this.count - 1]) return;
    if (away < 0) this.visit(2 * part + 1, middle, to, row, x, y, z);
    else this.visit(2 * part, from, middle, row, x, y, z);
  }

  private look(from: number, to: number, row: number, x: number, y: number, z: number): void {
    const { points, rows, distances, nearby } = this;
    const most = nearby.length;
    for (let i = from; i < to; i++) {
      const [dx, dy, dz] = [points[3 * i] - x, points[3 * i + 1] - y, points[3 * i + 2] - z];
      const distance = dx * dx + dy * dy + dz * dz;
      if ((this.count === most && distance >= distances[most - 1]) || rows[i] === row) continue;
      let at = this.count < most ? this.count++ : most - 1;
      for (; at > 0 && distances[at - 1] > distance; at--) {
        distances[at] = distances[at - 1];
        nearby[at] = nearby[at - 1];
      }
      distances[at] = distance;
      nearby[at] = rows[i];
    }
  }
}
