// Moved Gaussians in the packed scene: every one is packed once, from where it was at first, so that steps add no error.

import { DataUtils } from "three";
import { STRIDE, scaleTable } from "./gaussian";
import { type Transform, multiply, similarityOf, turn } from "./transform";

export type Moved = { rows: Uint8Array; transform: Transform };

const SCALES = 12;
const LEVELS = 254;
const SHORTEST = 1e-6;

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
    const steps = moves.map((move) => ({ rows: move.rows, ...similarityOf(move.transform) }));
    for (let row = 0; row < rows.length; row++) if (rows[row]) this.pack(row, steps.filter((step) => step.rows[row]));
    return rows;
  }

  private pack(row: number, steps: ReturnType<typeof similarityOf>[]): void {
    const { splats, positions, largest, scales } = this;
    const { splats: stored, positions: places } = this.first!;
    const at = row * STRIDE;
    for (let i = 4; i < STRIDE; i++) splats[at + i] = stored[at + i];
    let place = [places[3 * row], places[3 * row + 1], places[3 * row + 2]];
    if (steps.length) {
      let quat = unpackTurn(stored[at + 10], stored[at + 11], stored[at + 15]);
      let [logFactor, isTurned] = [0, false];
      for (const step of steps) {
        const { centre, translation, factor } = step;
        const offset = turn(step.turn, place.map((value, axis) => value - centre[axis]));
        place = offset.map((value, axis) => factor * value + centre[axis] + translation[axis]);
        logFactor += Math.log(factor);
        if (step.turn[0] === 1) continue;
        quat = multiply(step.turn, quat);
        isTurned = true;
      }
      place.forEach((value, axis) => {
        const half = DataUtils.toHalfFloat(Math.min(Math.max(value, -65504), 65504));
        splats[at + 4 + 2 * axis] = half & 255;
        splats[at + 5 + 2 * axis] = half >> 8;
      });
      if (isTurned) [splats[at + 10], splats[at + 11], splats[at + 15]] = packTurn(quat);
      const levels = logFactor / this.perLevel;
      // what is larger than everything was at first is drawn as large as that
      if (levels) {
        for (let i = SCALES; i < SCALES + 3; i++) splats[at + i] = Math.round(Math.min(Math.max(stored[at + i] + levels, 1), 255));
      }
    }
    positions.set(place, 3 * row);
    largest[row] = scales[Math.max(splats[at + SCALES], splats[at + SCALES + 1], splats[at + SCALES + 2])];
  }
}
