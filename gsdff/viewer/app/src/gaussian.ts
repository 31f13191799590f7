// Position and shape of the packed Gaussians, in Spark's layout: 16 bytes each.

export const STRIDE = 16;
export const OPACITY = 3;

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

// Standard deviation for each byte of a scale.
export function scaleTable([low, high]: [number, number]): Float64Array {
  return Float64Array.from({ length: 256 }, (_, byte) => Math.exp(low + ((high - low) * (byte - 1)) / 254));
}

export function largestScales(splats: Uint8Array, numGaussians: number, scales: Float64Array): Float32Array {
  const found = new Float32Array(numGaussians);
  for (let row = 0, at = 12; row < numGaussians; row++, at += STRIDE) {
    found[row] = scales[Math.max(splats[at], splats[at + 1], splats[at + 2])];
  }
  return found;
}

// Writes the rotation matrix of the packed axis and angle, row by row.
export function rotationInto(R: Float64Array, splats: Uint8Array, at: number): void {
  const [u, v] = [(splats[at + 10] / 255) * 2 - 1, (splats[at + 11] / 255) * 2 - 1];
  let z = 1 - Math.abs(u) - Math.abs(v);
  const fold = Math.max(-z, 0);
  let x = u - (u >= 0 ? fold : -fold);
  let y = v - (v >= 0 ? fold : -fold);
  const half = ((splats[at + 15] / 255) * Math.PI) / 2;
  const factor = Math.sin(half) / Math.sqrt(x * x + y * y + z * z);
  const q = Math.cos(half);
  [x, y, z] = [x * factor, y * factor, z * factor];
  R[0] = 1 - 2 * (y * y + z * z);
  R[1] = 2 * (x * y - z * q);
  R[2] = 2 * (x * z + y * q);
  R[3] = 2 * (x * y + z * q);
  R[4] = 1 - 2 * (x * x + z * z);
  R[5] = 2 * (y * z - x * q);
  R[6] = 2 * (x * z - y * q);
  R[7] = 2 * (y * z + x * q);
  R[8] = 1 - 2 * (x * x + y * y);
}
