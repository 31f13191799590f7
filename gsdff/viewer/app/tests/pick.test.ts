import { expect, test } from "vitest";
import { largestScales, positionsOf, scaleTable } from "../src/gaussian";
import { pick } from "../src/pick";

// Gaussians of 16 bytes: colour, opacity, position as float16, axis, log scales, angle.
function splat(alpha: number, position: number[], scales: number[], angle = 0): number[] {
  // float16 of whole numbers up to 3
  const half: Record<number, number[]> = { 0: [0, 0], 1: [0, 0x3c], 2: [0, 0x40], 3: [0, 0x42], [-1]: [0, 0xbc] };
  // an axis along z is the middle of the octahedron
  return [0, 0, 0, alpha, ...position.flatMap((value) => half[value]), 128, 128, ...scales, angle];
}

const range: [number, number] = [-4, 0];
const ray = (x: number, y = 0) => ({ origin: [x, y, -1], direction: [0, 0, 1] });

function pickIn(rows: number[][], x: number, y = 0, positions?: Float32Array): number | null {
  const splats = Uint8Array.from(rows.flat());
  const scales = scaleTable(range);
  const largest = largestScales(splats, rows.length, scales);
  return pick({ splats, positions: positions ?? positionsOf(splats, rows.length), largest, scales }, ray(x, y))?.row ?? null;
}

test("positions are decoded", () => {
  const rows = [splat(255, [1, -1, 3], [1, 1, 1])];
  expect([...positionsOf(Uint8Array.from(rows.flat()), 1)]).toEqual([1, -1, 3]);
});

test("the nearest opaque one is picked, a faint one before it is not, and beside all there is none", () => {
  const rows = [splat(255, [0, 0, 2], [1, 1, 1]), splat(255, [0, 0, 1], [1, 1, 1]), splat(20, [0, 0, 0], [1, 1, 1])];
  expect(pickIn(rows, 0)).toBe(1);
  expect(pickIn(rows, 0.5)).toBeNull();
});

test("what is hidden or behind the camera is not picked", () => {
  expect(pickIn([splat(0, [0, 0, 1], [1, 1, 1])], 0)).toBeNull();
  expect(pickIn([splat(255, [0, 0, 0], [1, 1, 1])], 0, 0, Float32Array.from([0, 0, -2]))).toBeNull();
});

test("a long one is met along its length alone, and a quarter turn turns it", () => {
  const long = [255, 1, 1];
  expect(pickIn([splat(255, [0, 0, 1], long)], 1)).toBe(0);
  expect(pickIn([splat(255, [0, 0, 1], long)], 0, 1)).toBeNull();
  expect(pickIn([splat(255, [0, 0, 1], long, 128)], 1)).toBeNull();
  expect(pickIn([splat(255, [0, 0, 1], long, 128)], 0, 1)).toBe(0);
});
