import { expect, test } from "vitest";
import { frustumLines, frustumPath, readCameras } from "../src/frustums";
import { camera } from "./views";

const photo = { position: [0, 0, -10], forward: [0, 0, -1], up: [0, 1, 0], fovY: Math.PI / 2, aspect: 2 };

test("a frustum has its corners at the depth and the sides of its picture", () => {
  const ends = frustumLines(photo, 1).slice(0, 4).map(([from, to]) => {
    expect(from).toEqual(photo.position);
    return to.map((value) => Number(value.toFixed(6)));
  });
  expect(ends).toEqual([[-2, -1, -11], [2, -1, -11], [2, 1, -11], [-2, 1, -11]]);
});

test("lines behind the viewer are not drawn", () => {
  const view = camera(200, 100);
  expect(frustumPath([photo], 1, view).match(/M/g)).toHaveLength(10);
  expect(frustumPath([{ ...photo, position: [0, 0, 5] }], 1, view)).toBe("");
});

test("cameras are read row by row, and a page without has none", () => {
  const numbers = [[1, 2, 3, 0, 0, 1, 0, 1, 0, 0.5, 1.5], [4, 5, 6, 0, 0, 1, 0, 1, 0, 0.6, 1.2]];
  const values = Float32Array.from(numbers[0].flatMap((_, i) => numbers.map((row) => row[i])));
  const [first, second] = readCameras({ column: () => ({ values, rows: 2, columns: 11 }) });
  expect(first.position).toEqual([1, 2, 3]);
  expect([second.fovY, second.aspect].map((value) => Number(value.toFixed(3)))).toEqual([0.6, 1.2]);
  expect(readCameras({ column: () => null })).toEqual([]);
});
