// Moved Gaussians in the packed scene: every one is packed once, from where it was at first, so that steps add no error.

import { DataUtils } from "three";
import { STRIDE, scaleTable } from "./gaussian";
import { type Transform, multiply, similarityOf, turn } from "./transform";

export type Moved = { rows: Uint8Array; transform: Transform };

const SCALES = 12;
const LEVELS = 254;
const SHORTEST = 1e-6;
// Largest number of 16 bits.
const FARTHEST = 65504;

// Axis on an octahedron and angle, as gsdff/viewer/page/packing.py packs them.
export function unpackTurn(u: number, v: number, angle: number): number[] {
  let [x, y] = [(u / 255) * 2 - 1, (v / 255) * 2 - 1];
  const z = 1 - Math.abs(x) - Math.abs(y);
  const fold = Math.max(-z, 0);
  [x, y] = [x - (x >= 0 ? fold : -fold), y - (y >= 0 ? fold : -fold)];
  const half = ((angle / 255) * Math.PI) / 2;
  const factor = Math.sin(half) / Math.hypot(x, y, z);
  return [Math.cos(half), x * factor, y * factor, z * factor];
}

export function packTurn(quat: number[]): [number, number, number] {
  const sign = quat[0] < 0 ? -1 : 1;
  const [w, ...axis] = quat.map((value) => sign * value);
  const length = Math.hypot(...axis);
  const [a, b, c] = length < SHORTEST ? [1, 0, 0] : axis.map((value) => value / length);
  const sum = Math.abs(a) + Math.abs(b) + Math.abs(c);
  let [u, v] = [a / sum, b / sum];
  if (c < 0) [u, v] = [(1 - Math.abs(v)) * (u >= 0 ? 1 : -1), (1 - Math.abs(u)) * (v >= 0 ? 1 : -1)];
  const angle = 2 * Math.atan2(length, w);
  return [u * 0.5 + 0.5, v * 0.5 + 0.5, angle / Math.PI].map((share) => Math.round(255 * share)) as [number, number, number];
}

export class Placing {
  private moves: readonly Moved[] = [];
  // Splats and positions before any move; null before there is one.
  private first: { splats: Uint8Array; positions: Float32Array } | null = null;
  private readonly scales: Float64Array;
  private readonly perLevel: number;

  constructor(
    private readonly splats: Uint8Array,
    // Changed with the splats, like the largest standard deviations.
    private readonly positions: Float32Array,
    private readonly largest: Float32Array,
    logScaleRange: [number, number],
  ) {
    this.scales = scaleTable(logScaleRange);
    this.perLevel = (logScaleRange[1] - logScaleRange[0]) / LEVELS;
  }

  // Moves the Gaussians as these say and no others do; returns those that may have changed, or null for none.
  place(moves: readonly Moved[]): Uint8Array | null {
    const before = this.moves;
    if (moves === before) return null;
    this.moves = moves;
    let same = 0;
    while (same < moves.length && same < before.length && moves[same] === before[same]) same++;
    const changed = [...before.slice(same), ...moves.slice(same)];
    if (!changed.length) return null;
    this.first ??= { splats: this.splats.slice(), positions: this.positions.slice() };
    const rows = new Uint8Array(this.largest.length);
    for (const move of changed) for (let row = 0; row < rows.length; row++) rows[row] |= move.rows[row];
    const steps = moves.map(stepOf);
    for (let row = 0; row < rows.length; row++) if (rows[row]) this.pack(row, steps);
    return rows;
  }

  // Numbers one by one: a selection has many Gaussians, and all are packed again at every step of a drag.
  private pack(row: number, steps: Step[]): void {
    const { splats, positions, largest, scales } = this;
    const { splats: stored, positions: places } = this.first!;
    const at = row * STRIDE;
    for (let i = 4; i < STRIDE; i++) splats[at + i] = stored[at + i];
    let [x, y, z] = [places[3 * row], places[3 * row + 1], places[3 * row + 2]];
    let [logFactor, isMoved] = [0, false];
    let quat: number[] | null = null;
    for (const { rows, matrix: M, from, to, turns, log } of steps) {
      if (!rows[row]) continue;
      const [dx, dy, dz] = [x - from[0], y - from[1], z - from[2]];
      x = M[0] * dx + M[1] * dy + M[2] * dz + to[0];
      y = M[3] * dx + M[4] * dy + M[5] * dz + to[1];
      z = M[6] * dx + M[7] * dy + M[8] * dz + to[2];
      if (turns) quat = multiply(turns, quat ?? unpackTurn(stored[at + 10], stored[at + 11], stored[at + 15]));
      logFactor += log;
      isMoved = true;
    }
    if (isMoved) {
      packHalf(splats, at + 4, x);
      packHalf(splats, at + 6, y);
      packHalf(splats, at + 8, z);
    }
    if (quat) [splats[at + 10], splats[at + 11], splats[at + 15]] = packTurn(quat);
    if (logFactor) {
      // what is larger than everything was at first is drawn as large as that
      const levels = logFactor / this.perLevel;
      for (let i = at + SCALES; i < at + SCALES + 3; i++) splats[i] = Math.round(Math.min(Math.max(stored[i] + levels, 1), 255));
    }
    positions[3 * row] = x;
    positions[3 * row + 1] = y;
    positions[3 * row + 2] = z;
    largest[row] = scales[Math.max(splats[at + SCALES], splats[at + SCALES + 1], splats[at + SCALES + 2])];
  }
}

// A transform as it is applied: x' = matrix (x - from) + to; `turns` is null where no shape turns, `log` is of the factor.
type Step = { rows: Uint8Array; matrix: number[]; from: number[]; to: number[]; turns: number[] | null; log: number };

function stepOf({ rows, transform }: Moved): Step {
  const { turn: quat, factor, centre, translation } = similarityOf(transform);
  const columns = [[factor, 0, 0], [0, factor, 0], [0, 0, factor]].map((axis) => turn(quat, axis));
  return {
    rows,
    matrix: [0, 1, 2].flatMap((i) => columns.map((column) => column[i])),
    from: centre,
    to: centre.map((value, axis) => value + translation[axis]),
    turns: transform.operation === "rotate" ? quat : null,
    log: Math.log(factor),
  };
}

function packHalf(bytes: Uint8Array, at: number, value: number): void {
  const half = DataUtils.toHalfFloat(Math.min(Math.max(value, -FARTHEST), FARTHEST));
  bytes[at] = half & 255;
  bytes[at + 1] = half >> 8;
}
