// The Gaussian under the pointer: the one that has most of what the ray from the camera sees.

export type Ray = { origin: number[]; direction: number[] };

const STRIDE = 16;
// Standard deviations beyond which a Gaussian is not seen, and what is left of the light behind which none is looked for.
const REACH = 3;
const LEAST_LIGHT = 1e-3;
const NEAREST = 1e-3;

// Numbers of 16 bits, decoded once.
let halves: Float32Array | null = null;

function halfTable(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < table.length; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else table[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  return table;
}

export function positionsOf(splats: Uint8Array, numGaussians: number): Float32Array {
  halves ??= halfTable();
  const found = new Float32Array(3 * numGaussians);
  for (let row = 0, at = 4; row < numGaussians; row++, at += STRIDE) {
    for (let axis = 0; axis < 3; axis++) {
      found[3 * row + axis] = halves[splats[at + 2 * axis] | (splats[at + 2 * axis + 1] << 8)];
    }
  }
  return found;
}

// Rotation matrix of the packed axis and angle, row by row.
function rotationOf(splats: Uint8Array, at: number): number[] {
  const [u, v] = [(splats[at + 10] / 255) * 2 - 1, (splats[at + 11] / 255) * 2 - 1];
  const z = 1 - Math.abs(u) - Math.abs(v);
  const fold = Math.max(-z, 0);
  const axis = [u - (u >= 0 ? fold : -fold), v - (v >= 0 ? fold : -fold), z];
  const length = Math.hypot(...axis);
  const half = ((splats[at + 15] / 255) * Math.PI) / 2;
  const [x, y, w, q] = [...axis.map((value) => (value / length) * Math.sin(half)), Math.cos(half)];
  return [
    1 - 2 * (y * y + w * w), 2 * (x * y - w * q), 2 * (x * w + y * q),
    2 * (x * y + w * q), 1 - 2 * (x * x + w * w), 2 * (y * w - x * q),
    2 * (x * w - y * q), 2 * (y * w + x * q), 1 - 2 * (x * x + y * y),
  ];
}

// Index of the Gaussian, or null where the ray meets none. `splats` has the opacities that are drawn.
export function pick(
  splats: Uint8Array,
  positions: Float32Array,
  [low, high]: [number, number],
  { origin, direction }: Ray,
): number | null {
  const [ox, oy, oz] = origin;
  const [dx, dy, dz] = direction;
  const reach = Float64Array.from({ length: 256 }, (_, byte) => REACH * Math.exp(low + ((high - low) * (byte - 1)) / 254));
  const met: { row: number; depth: number; alpha: number }[] = [];
  for (let row = 0, at = 0; 3 * row < positions.length; row++, at += STRIDE) {
    if (!splats[at + 3]) continue;
    const [x, y, z] = [positions[3 * row] - ox, positions[3 * row + 1] - oy, positions[3 * row + 2] - oz];
    const depth = x * dx + y * dy + z * dz;
    const largest = reach[Math.max(splats[at + 12], splats[at + 13], splats[at + 14])];
    if (depth < NEAREST || x * x + y * y + z * z - depth * depth > largest * largest) continue;
    const alpha = (splats[at + 3] / 255) * densityAlong(splats, at, reach, [x, y, z], direction);
    if (alpha > 1 / 255) met.push({ row, depth, alpha });
  }
  met.sort((a, b) => a.depth - b.depth);
  let [light, most, found] = [1, 0, null as number | null];
  for (const { row, alpha } of met) {
    if (light * alpha > most) [most, found] = [light * alpha, row];
    light *= 1 - alpha;
    if (light < LEAST_LIGHT) break;
  }
  return found;
}

// Largest density of a Gaussian along a ray that passes its middle at `-offset`.
function densityAlong(splats: Uint8Array, at: number, reach: Float64Array, offset: number[], direction: number[]): number {
  const R = rotationOf(splats, at);
  let [dd, od, oo] = [0, 0, 0];
  for (let axis = 0; axis < 3; axis++) {
    const scale = reach[splats[at + 12 + axis]] / REACH;
    const along = (vector: number[]) => (R[axis] * vector[0] + R[3 + axis] * vector[1] + R[6 + axis] * vector[2]) / scale;
    const [d, o] = [along(direction), along(offset)];
    dd += d * d;
    od += o * d;
    oo += o * o;
  }
  return Math.exp(-0.5 * Math.max(oo - (od * od) / dd, 0));
}
