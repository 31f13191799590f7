// How much of each Gaussian reaches the camera, found without the graphics card: Gaussians are blended front to back on
// a coarse grid.

import { OPACITY, STRIDE, rotationInto } from "./gaussian";
import type { Shapes } from "./pick";
import type { Box } from "./regions";
import { type View, isBetween, projectInto } from "./view";

const REACH = 3;
const LEAST_ALPHA = 1 / 255;
const DEPTHS = 65536;
// Cells along the longer side of the part of the window that is looked at, and the smallest cell in pixels.
const CELLS = 128;
const SMALLEST_CELL = 3;
// Share of its light that must pass what is before a Gaussian for it to be visible: a surface is several layers.
const LEAST_LIGHT = 0.1;

export type Grid = { left: number; top: number; cell: number; columns: number; rows: number };

export function gridOf({ left, top, right, bottom }: Box): Grid {
  const cell = Math.max(Math.max(right - left, bottom - top) / CELLS, SMALLEST_CELL);
  return { left, top, cell, columns: Math.ceil((right - left) / cell) || 1, rows: Math.ceil((bottom - top) / cell) || 1 };
}

// Middle and inverse covariance in pixels, depth, and reach in pixels across and down, of what touches the grid.
type Footprints = { rows: Uint32Array; depths: Float32Array; numbers: Float32Array };
const NUMBERS = 7;

function footprints({ splats, positions, largest, scales }: Shapes, view: View, grid: Grid): Footprints {
  const rows = new Uint32Array(largest.length);
  const depths = new Float32Array(largest.length);
  const numbers: number[] = [];
  const { world: W, projection: P } = view;
  const [fx, fy] = [(P[0] * view.width) / 2, (P[5] * view.height) / 2];
  const blur = grid.cell ** 2 / 12;
  const [right, bottom] = [grid.left + grid.columns * grid.cell, grid.top + grid.rows * grid.cell];
  const [at, R] = [new Float64Array(3), new Float64Array(9)];
  let count = 0;
  for (let row = 0, i = 0; row < largest.length; row++, i += 3) {
    if (!splats[row * STRIDE + OPACITY]) continue;
    if (!projectInto(at, view, positions[i], positions[i + 1], positions[i + 2])) continue;
    const [x, y, depth] = at;
    if (!isBetween(view, depth)) continue;
    const most = (REACH * 1.5 * fy * largest[row]) / depth + 2 * grid.cell;
    if (x + most < grid.left || x - most > right || y + most < grid.top || y - most > bottom) continue;
    rotationInto(R, splats, row * STRIDE);
    const [tx, ty] = [(x - view.width / 2) / fx, (y - view.height / 2) / fy];
    let [xx, xy, yy] = [blur, 0, blur];
    for (let axis = 0; axis < 3; axis++) {
      const scale = scales[splats[row * STRIDE + 12 + axis]];
      const [a, b, c] = [R[axis], R[3 + axis], R[6 + axis]];
      // the axis in the camera: across, down, away
      const u = scale * (W[0] * a + W[4] * b + W[8] * c);
      const v = -scale * (W[1] * a + W[5] * b + W[9] * c);
      const w = -scale * (W[2] * a + W[6] * b + W[10] * c);
      const [dx, dy] = [(fx * (u - tx * w)) / depth, (fy * (v - ty * w)) / depth];
      xx += dx * dx;
      xy += dx * dy;
      yy += dy * dy;
    }
    const determinant = xx * yy - xy * xy;
    numbers.push(x, y, yy / determinant, -xy / determinant, xx / determinant, REACH * Math.sqrt(xx), REACH * Math.sqrt(yy));
    rows[count] = row;
    depths[count++] = depth;
  }
  return { rows: rows.subarray(0, count), depths: depths.subarray(0, count), numbers: Float32Array.from(numbers) };
}

// Indices in the order of depth, to a step of 1/65536 of the logarithm's range.
export function orderByDepth(depths: Float32Array): Uint32Array {
  const logs = depths.map(Math.log);
  let [low, high] = [Infinity, -Infinity];
  for (const value of logs) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const scale = (DEPTHS - 1) / Math.max(high - low, 1e-9);
  const starts = new Uint32Array(DEPTHS + 1);
  for (const value of logs) starts[Math.floor((value - low) * scale) + 1]++;
  for (let i = 1; i <= DEPTHS; i++) starts[i] += starts[i - 1];
  const order = new Uint32Array(depths.length);
  logs.forEach((value, i) => (order[starts[Math.floor((value - low) * scale)]++] = i));
  return order;
}

// Blends front to back: `meet` gets every Gaussian with the light that passes to its middle (0 outside the grid) and what
// is seen of it, in cells.
export function blend(shapes: Shapes, view: View, grid: Grid, meet: (row: number, light: number, seen: number) => void): void {
  const { rows, depths, numbers } = footprints(shapes, view, grid);
  const light = new Float32Array(grid.columns * grid.rows).fill(1);
  for (const index of orderByDepth(depths)) {
    const n = index * NUMBERS;
    const [x, y] = [(numbers[n] - grid.left) / grid.cell, (numbers[n + 1] - grid.top) / grid.cell];
    const [reachX, reachY] = [numbers[n + 5] / grid.cell, numbers[n + 6] / grid.cell];
    const [A, B, C] = [numbers[n + 2], numbers[n + 3], numbers[n + 4]].map((value) => value * grid.cell ** 2);
    const isInside = x >= 0 && y >= 0 && x < grid.columns && y < grid.rows;
    const passing = isInside ? light[Math.floor(y) * grid.columns + Math.floor(x)] : 0;
    const opacity = shapes.splats[rows[index] * STRIDE + OPACITY] / 255;
    let seen = 0;
    const last = Math.min(grid.columns - 1, Math.floor(x + reachX));
    const lowest = Math.min(grid.rows - 1, Math.floor(y + reachY));
    for (let j = Math.max(0, Math.floor(y - reachY)); j <= lowest; j++) {
      const dy = j + 0.5 - y;
      for (let i = Math.max(0, Math.floor(x - reachX)); i <= last; i++) {
        const dx = i + 0.5 - x;
        const alpha = opacity * Math.exp(-0.5 * (A * dx * dx + 2 * B * dx * dy + C * dy * dy));
        if (alpha < LEAST_ALPHA) continue;
        const cell = j * grid.columns + i;
        seen += light[cell] * alpha;
        light[cell] *= 1 - alpha;
      }
    }
    meet(rows[index], passing, seen);
  }
}

// Those of the candidates, all in a part of the window, that are not behind something else.
export function visibleIn(box: Box, view: View, shapes: Shapes, candidates: Uint8Array): Uint8Array {
  const found = new Uint8Array(candidates.length);
  blend(shapes, view, gridOf(box), (row, light) => {
    if (candidates[row] && light >= LEAST_LIGHT) found[row] = 1;
  });
  return found;
}

// Share of the window that each label fills, of what is drawn.
export function areasOf(labels: ArrayLike<number>, numLabels: number, view: View, shapes: Shapes): number[] {
  const areas = new Float64Array(numLabels);
  const grid = gridOf({ left: 0, top: 0, right: view.width, bottom: view.height });
  blend(shapes, view, grid, (row, _, seen) => {
    if (labels[row] < numLabels) areas[labels[row]] += seen;
  });
  return Array.from(areas, (area) => area / (grid.columns * grid.rows));
}
