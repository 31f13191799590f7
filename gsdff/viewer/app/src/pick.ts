// The Gaussian under the pointer: the one that has most of what the ray from the camera sees.

import { OPACITY, STRIDE, rotationInto } from "./gaussian";

export type Ray = { origin: number[]; direction: number[] };

export type Shapes = {
  // With the opacities that are drawn.
  splats: Uint8Array;
  positions: Float32Array;
  // Largest standard deviation of every Gaussian, and that of every byte.
  largest: Float32Array;
  scales: Float64Array;
};

// Standard deviations beyond which a Gaussian is not seen, and what is left of the light behind which none is looked for.
const REACH = 3;
const LEAST_LIGHT = 1e-3;
const NEAREST = 1e-3;

// Index of the Gaussian and its depth along the ray, or null where the ray meets none between these depths.
export function pick(shapes: Shapes, { origin, direction }: Ray, [near, far] = [NEAREST, Infinity]): { row: number; depth: number } | null {
  const { splats, positions, largest } = shapes;
  const [ox, oy, oz] = origin;
  const [dx, dy, dz] = direction;
  const nearest = Math.max(near, NEAREST);
  const met: { row: number; depth: number; alpha: number }[] = [];
  for (let row = 0, i = 0; row < largest.length; row++, i += 3) {
    const x = positions[i] - ox;
    const y = positions[i + 1] - oy;
    const z = positions[i + 2] - oz;
    const depth = x * dx + y * dy + z * dz;
    const reach = REACH * largest[row];
    if (depth < nearest || depth > far || x * x + y * y + z * z - depth * depth > reach * reach) continue;
    const opacity = splats[row * STRIDE + OPACITY] / 255;
    if (!opacity) continue;
    const alpha = opacity * densityAlong(shapes, row, [x, y, z], direction);
    if (alpha > 1 / 255) met.push({ row, depth, alpha });
  }
  met.sort((a, b) => a.depth - b.depth);
  let [light, most, found] = [1, 0, null as { row: number; depth: number } | null];
  for (const { row, depth, alpha } of met) {
    if (light * alpha > most) [most, found] = [light * alpha, { row, depth }];
    light *= 1 - alpha;
    if (light < LEAST_LIGHT) break;
  }
  return found;
}

const R = new Float64Array(9);

// Largest density of a Gaussian along a ray that passes its middle at `-offset`.
function densityAlong({ splats, scales }: Shapes, row: number, offset: number[], direction: number[]): number {
  const at = row * STRIDE;
  rotationInto(R, splats, at);
  let [dd, od, oo] = [0, 0, 0];
  for (let axis = 0; axis < 3; axis++) {
    const scale = scales[splats[at + 12 + axis]];
    const d = (R[axis] * direction[0] + R[3 + axis] * direction[1] + R[6 + axis] * direction[2]) / scale;
    const o = (R[axis] * offset[0] + R[3 + axis] * offset[1] + R[6 + axis] * offset[2]) / scale;
    dd += d * d;
    od += o * d;
    oo += o * o;
  }
  return Math.exp(-0.5 * Math.max(oo - (od * od) / dd, 0));
}
