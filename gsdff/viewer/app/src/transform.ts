// Moves, turns and sizes of Gaussians: what the handles make, and what `gsdff edit` does again.

export type Transform =
  | { operation: "move"; translation: number[] }
  | { operation: "rotate"; axis: number[]; degrees: number; centre: number[] }
  | { operation: "scale"; factor: number; centre: number[] };

// What a transform does to a point, a rotation and a size: x' = factor * turn(x - centre) + centre + translation.
export type Similarity = { turn: number[]; factor: number; centre: number[]; translation: number[] };

const STILL = [1, 0, 0, 0];
const ZERO = [0, 0, 0];

export function similarityOf(transform: Transform): Similarity {
  if (transform.operation === "move") return { turn: STILL, factor: 1, centre: ZERO, translation: transform.translation };
  const { centre } = transform;
  if (transform.operation === "scale") return { turn: STILL, factor: transform.factor, centre, translation: ZERO };
  return { turn: quaternion(transform.axis, transform.degrees), factor: 1, centre, translation: ZERO };
}

// Rotation about an axis of any length, counter-clockwise when it points at the viewer, as wxyz.
export function quaternion(axis: number[], degrees: number): number[] {
  const half = (degrees * Math.PI) / 360;
  const length = Math.hypot(...axis);
  return [Math.cos(half), ...axis.map((value) => (Math.sin(half) * value) / length)];
}

// The rotation `right` followed by `left`.
export function multiply([a, b, c, d]: number[], [w, x, y, z]: number[]): number[] {
  return [
    a * w - b * x - c * y - d * z,
    a * x + b * w + c * z - d * y,
    a * y - b * z + c * w + d * x,
    a * z + b * y - c * x + d * w,
  ];
}

export function turn([w, x, y, z]: number[], [a, b, c]: number[]): number[] {
  const [i, j, k] = [2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)];
  return [a + w * i + y * k - z * j, b + w * j + z * i - x * k, c + w * k + x * j - y * i];
}

// One transform in place of two of the same Gaussians; null if it takes both.
export function merge(first: Transform, second: Transform): Transform | null {
  const isSame = (a: number[], b: number[]) => a.every((value, i) => value === b[i]);
  if (first.operation === "move" && second.operation === "move") {
    return { operation: "move", translation: first.translation.map((value, i) => value + second.translation[i]) };
  }
  if (first.operation === "rotate" && second.operation === "rotate" && isSame(first.axis, second.axis)) {
    return isSame(first.centre, second.centre) ? { ...first, degrees: (first.degrees + second.degrees) % 360 } : null;
  }
  if (first.operation === "scale" && second.operation === "scale" && isSame(first.centre, second.centre)) {
    return { ...first, factor: first.factor * second.factor };
  }
  return null;
}

// Whether nothing is where it was.
export function isStill(transform: Transform): boolean {
  if (transform.operation === "move") return transform.translation.every((value) => value === 0);
  return transform.operation === "rotate" ? transform.degrees === 0 : transform.factor === 1;
}
