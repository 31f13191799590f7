import { describe, expect, test } from "vitest";
import { largestScales, scaleTable } from "../src/gaussian";
import { rowsIn } from "../src/selection";
import { areasOf, orderByDepth, visibleIn } from "../src/visibility";
import { camera } from "./views";

const view = camera(200, 100);
const whole = { left: 0, top: 0, right: 200, bottom: 100 };
const scales = scaleTable([-4, 0]);

// Round Gaussians: position, opacity and byte of the standard deviation (1 is exp(-4), 255 is 1).
function shapesOf(rows: { at: number[]; opacity?: number; scale?: number }[]) {
  const splats = Uint8Array.from(
    rows.flatMap(({ opacity = 255, scale = 255 }) => [0, 0, 0, opacity, 0, 0, 0, 0, 0, 0, 128, 128, scale, scale, scale, 0]),
  );
  const positions = Float32Array.from(rows.flatMap(({ at }) => at));
  return { splats, positions, largest: largestScales(splats, rows.length, scales), scales };
}

const visible = (rows: Parameters<typeof shapesOf>[0]) =>
  rowsIn(visibleIn(whole, view, shapesOf(rows), new Uint8Array(rows.length).fill(1)));

describe("visible is", () => {
  const wall = [0, 1, 2].map((layer) => ({ at: [0, 0, -10 - 0.01 * layer] }));
  test("what is before a wall and the wall's first layers, not what is behind it", () => {
    expect(visible([...wall, { at: [0, 0, -8], scale: 1 }, { at: [0, 0, -20], scale: 1 }])).toEqual([0, 3]);
  });
  test("what is beside the wall", () => expect(visible([...wall, { at: [6, 0, -20], scale: 1 }])).toContain(3));
  test("what is behind something faint or hidden", () => {
    const behind = { at: [0, 0, -20], scale: 1 };
    expect(visible([{ at: [0, 0, -10], opacity: 60 }, behind])).toEqual([0, 1]);
    expect(visible([{ at: [0, 0, -10], opacity: 0 }, behind])).toEqual([1]);
  });
  test("found in a part of the window by what reaches into it", () => {
    const shapes = shapesOf([{ at: [1, 0, -10] }, { at: [1.1, 0, -10.1] }, { at: [0, 0, -20], scale: 1 }]);
    const part = { left: 95, top: 45, right: 105, bottom: 55 };
    expect(rowsIn(visibleIn(part, view, shapes, Uint8Array.from([0, 0, 1])))).toEqual([2]);
    const covered = shapesOf([0, 1, 2, 3, 4, 5].map((i) => ({ at: [0.5, 0, -10 - 0.01 * i] })).concat([{ at: [0, 0, -20] }]));
    expect(rowsIn(visibleIn(part, view, covered, Uint8Array.from([0, 0, 0, 0, 0, 0, 1])))).toEqual([]);
  });
});

test("areas are shares of the window, of what is seen", () => {
  // a flat top of sigma 10 pixels: its light is 2 pi sigma squared pixels, less what 3 sigma and 1/255 cut off
  const [one] = areasOf([0], 1, view, shapesOf([{ at: [0, 0, -10] }]));
  expect(one).toBeGreaterThan(0.9 * ((2 * Math.PI * 100) / 20000));
  expect(one).toBeLessThan((2 * Math.PI * 100) / 20000 + 0.003);
  const two = areasOf([0, 1], 2, view, shapesOf([{ at: [0, 0, -10] }, { at: [0, 0, -11] }]));
  expect(two[0]).toBeCloseTo(one);
  expect(two[1]).toBeLessThan(0.7 * one);
});

test("depths are in order, and equal ones stay as they were", () => {
  expect([...orderByDepth(Float32Array.from([3, 1, 2, 1]))]).toEqual([1, 3, 2, 0]);
  expect([...orderByDepth(new Float32Array(0))]).toEqual([]);
});
