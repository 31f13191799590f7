// Rotation of spherical harmonics, in 3DGS's order and signs, as gsdff/rotation.py has it.

import { multiply, quaternion, turn } from "./transform";
import type { Moved } from "./placing";

// Harmonics of bands 1 to 3 in a unit direction, of norm 1 on the sphere.
export function harmonicsIn([x, y, z]: number[]): number[][] {
  const { sqrt, PI } = Math;
  const [one, twoA, twoB, twoC] = [sqrt(3 / (4 * PI)), sqrt(15 / (4 * PI)), sqrt(5 / (16 * PI)), sqrt(15 / (16 * PI))];
  const [threeA, threeB, threeC] = [sqrt(35 / (32 * PI)), sqrt(105 / (4 * PI)), sqrt(21 / (32 * PI))];
  const [threeD, threeE] = [sqrt(7 / (16 * PI)), sqrt(105 / (16 * PI))];
  return [
    [-one * y, one * z, -one * x],
    [twoA * x * y, -twoA * y * z, twoB * (3 * z * z - 1), -twoA * x * z, twoC * (x * x - y * y)],
    [
      -threeA * y * (3 * x * x - y * y),
      threeB * x * y * z,
      -threeC * y * (5 * z * z - 1),
      threeD * z * (5 * z * z - 3),
      -threeC * x * (5 * z * z - 1),
      threeE * z * (x * x - y * y),
      -threeA * x * (x * x - 3 * y * y),
    ],
  ];
}

// Gauss's points and weights of degree 7 for the height, and as many turns about it: products of two harmonics of band 3
// are summed without error.
const HEIGHTS = [[0.8611363115940526, 0.34785484513745385], [0.33998104358485626, 0.6521451548625461]];
const NUM_LONGITUDES = 8;

function sphere(): { direction: number[]; weight: number }[] {
  return HEIGHTS.flatMap(([height, weight]) => [height, -height].map((z) => ({ z, weight }))).flatMap(({ z, weight }) =>
    Array.from({ length: NUM_LONGITUDES }, (_, i) => {
      const longitude = (2 * Math.PI * i) / NUM_LONGITUDES;
      const radius = Math.sqrt(1 - z * z);
      const direction = [radius * Math.cos(longitude), radius * Math.sin(longitude), z];
      return { direction, weight: (weight * 2 * Math.PI) / NUM_LONGITUDES };
    }),
  );
}

// For each band the matrix, row by row, that takes coefficients to those of the turned harmonics.
export function bandTurns(quat: number[]): number[][][] {
  const points = sphere().map(({ direction, weight }) => ({
    weight,
    before: harmonicsIn(direction),
    after: harmonicsIn(turn(quat, direction)),
  }));
  return [0, 1, 2].map((band) => {
    const size = 2 * band + 3;
    const sum = (i: number, j: number) => points.reduce((all, { weight, before, after }) => all + weight * after[band][i] * before[band][j], 0);
    return Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => sum(i, j)));
  });
}

// The matrices of every Gaussian, after all turns that are made of it; null for one that is as it was.
export class Turns {
  private readonly turning: { rows: Uint8Array; quat: number[] }[];
  private readonly known = new Map<string, number[][][]>();

  constructor(moves: readonly Moved[]) {
    this.turning = moves.flatMap(({ rows, transform }) =>
      transform.operation === "rotate" ? [{ rows, quat: quaternion(transform.axis, transform.degrees) }] : [],
    );
  }

  has(row: number): boolean {
    return this.turning.some(({ rows }) => rows[row]);
  }

  of(row: number): number[][][] | null {
    const made = this.turning.filter(({ rows }) => rows[row]);
    if (!made.length) return null;
    const key = made.map((one) => this.turning.indexOf(one)).join();
    let found = this.known.get(key);
    if (!found) {
      found = bandTurns(made.reduce((quat, one) => multiply(one.quat, quat), [1, 0, 0, 0]));
      this.known.set(key, found);
    }
    return found;
  }
}
