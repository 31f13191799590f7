import { describe, expect, test } from "vitest";
import { sizeAt, within } from "../src/filter";
import { distance } from "../src/measure";
import { rowsIn } from "../src/selection";
import { extentOf } from "../src/statistics";
import { Frames } from "../src/viewing";

test("a distance is that of the points in space", () => expect(distance([0, 0, 0], [2, 3, 6])).toBe(7));

test("the middle is weighted by opacity, the size is that of the middles", () => {
  const positions = Float32Array.from([0, 0, 0, 4, 0, 0, 9, 9, 9]);
  const extent = extentOf(Uint8Array.from([1, 1, 0]), positions, (row) => [0.25, 0.75, 1][row])!;
  expect(extent.centre).toEqual([3, 0, 0]);
  expect(extent.size).toEqual([4, 0, 0]);
  expect(extentOf(new Uint8Array(3), positions, () => 1)).toBeNull();
});

test("a hundredth at either end of an axis is not of the size", () => {
  const count = 1000;
  const positions = new Float32Array(3 * count);
  for (let row = 0; row < count; row++) positions[3 * row] = row < 5 ? -1e6 : row;
  expect(extentOf(new Uint8Array(count).fill(1), positions, () => 1)!.size[0]).toBe(989 - 10);
});

describe("selecting by size and opacity", () => {
  const splats = Uint8Array.from([51, 255, 255].flatMap((alpha) => [0, 0, 0, alpha, ...Array(12).fill(0)]));
  const shapes = { splats, positions: new Float32Array(9), largest: Float32Array.from([1, 2, 4]), scales: new Float64Array(256) };
  const found = (size: [number, number], opacity: [number, number], candidates = Uint8Array.from([1, 1, 1])) =>
    rowsIn(within(shapes, { size, opacity }, candidates));
  test("takes what is between both limits, and of the candidates alone", () => {
    expect(found([2, 4], [0, 1])).toEqual([1, 2]);
    expect(found([0, Infinity], [0, 0.5])).toEqual([0]);
    expect(found([0, Infinity], [0, 1], Uint8Array.from([0, 1, 0]))).toEqual([1]);
  });
  test("has sizes in equal factors", () => {
    expect([0, 0.5, 1].map((share) => sizeAt(share, [1, 100]))).toEqual([1, 10, 100]);
  });
});

test("the rate is that of one movement", () => {
  const frames = new Frames();
  expect(frames.drawn(0)).toBeNull();
  expect(frames.drawn(50)).toBeCloseTo(20);
  expect(frames.drawn(100)).toBeCloseTo(20);
  expect(frames.drawn(5000)).toBeNull();
});
