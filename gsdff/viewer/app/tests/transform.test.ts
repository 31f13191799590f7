import { expect, test } from "vitest";
import { STRIDE, positionsOf, largestScales, scaleTable } from "../src/gaussian";
import { nearestOnAxis, onPlane, outline, turnedBy } from "../src/gizmo";
import { Placing, packTurn, unpackTurn } from "../src/placing";
import { merge, multiply, quaternion, turn } from "../src/transform";
import { bandTurns, harmonicsIn, Turns } from "../src/turning";
import { camera } from "./views";

const close = (found: number[], expected: number[], digits = 9) => found.forEach((value, i) => expect(value).toBeCloseTo(expected[i], digits));
const rows = (...values: number[]) => Uint8Array.from(values);

test("a quarter turn about z takes x to y, and two of them are a half", () => {
  const quarter = quaternion([0, 0, 5], 90);
  close(turn(quarter, [1, 0, 0]), [0, 1, 0]);
  close(turn(multiply(quarter, quarter), [1, 2, 3]), [-1, -2, 3]);
});

test("a row of like transforms is one, and others are not", () => {
  const centre = [1, 0, 0];
  const by = (degrees: number) => ({ operation: "rotate" as const, axis: [0, 0, 1], degrees, centre });
  expect(merge(by(200), by(170))).toEqual(by(10));
  expect(merge(by(20), { ...by(20), centre: [0, 0, 0] })).toBeNull();
  expect(merge({ operation: "scale", factor: 2, centre }, { operation: "scale", factor: 3, centre })).toMatchObject({ factor: 6 });
  expect(merge({ operation: "move", translation: [1, 0, 0] }, by(20))).toBeNull();
});

test("turns come back from three bytes to a step of them", () => {
  for (const [axis, degrees] of [[[1, 2, 3], 77], [[0, 0, -1], 180], [[-1, 0.2, -0.4], 10], [[1, 0, 0], 0]] as const) {
    const quat = quaternion([...axis], degrees);
    const back = unpackTurn(...packTurn(quat));
    expect(Math.abs(quat.reduce((sum, value, i) => sum + value * back[i], 0))).toBeGreaterThan(0.9999);
  }
});

// Three Gaussians at (1, 0, 0), (2, 0, 0) and (3, 0, 0), of steps 100, 110 and 120, not turned.
function scene() {
  const splats = new Uint8Array(3 * STRIDE);
  [0x3c00, 0x4000, 0x4200].forEach((half, row) => {
    splats.set([9, 9, 9, 200, half & 255, half >> 8, 0, 0, 0, 0, 255, 128, 100 + 10 * row, 100, 100, 0], row * STRIDE);
  });
  const range: [number, number] = [-5, 0];
  const positions = positionsOf(splats, 3);
  const largest = largestScales(splats, 3, scaleTable(range));
  return { splats, positions, largest, placing: new Placing(splats, positions, largest, range) };
}

test("moves are made one after another, of their own Gaussians, and are taken back", () => {
  const { splats, positions, largest, placing } = scene();
  const [first, widest] = [splats.slice(), largest.slice()];
  const moved = { rows: rows(1, 1, 0), transform: { operation: "move" as const, translation: [0, 1, 0] } };
  const turned = { rows: rows(0, 1, 0), transform: { operation: "rotate" as const, axis: [0, 0, 1], degrees: 90, centre: [2, 0, 0] } };
  const scaled = { rows: rows(0, 1, 0), transform: { operation: "scale" as const, factor: 2, centre: [0, 0, 0] } };
  expect([...placing.place([moved, turned, scaled])!]).toEqual([1, 1, 0]);
  close([...positions], [1, 1, 0, 2, 0, 0, 3, 0, 0], 6);
  close([...positionsOf(splats, 3)], [1, 1, 0, 2, 0, 0, 3, 0, 0], 3);
  expect(largest[1] / widest[1]).toBeCloseTo(2, 1);
  const quat = unpackTurn(splats[STRIDE + 10], splats[STRIDE + 11], splats[STRIDE + 15]);
  close(turn(quat, [1, 0, 0]), [0, 1, 0], 1);
  expect([...placing.place([moved])!]).toEqual([0, 1, 0]);
  close([...positions], [1, 1, 0, 2, 1, 0, 3, 0, 0], 6);
  placing.place([]);
  expect([[...splats], [...largest]]).toEqual([[...first], [...widest]]);
  expect(placing.place([])).toBeNull();
});

test("turned harmonics have in the turned direction what they had before", () => {
  const quat = quaternion([0.3, -1, 0.5], 130);
  const direction = [0.6, 0, -0.8];
  const [before, after] = [harmonicsIn(direction), harmonicsIn(turn(quat, direction))];
  bandTurns(quat).forEach((matrix, band) => {
    const coefficients = matrix.map((_, i) => Math.sin(3 * i + band));
    const turned = matrix.map((row) => row.reduce((sum, factor, j) => sum + factor * coefficients[j], 0));
    const value = (basis: number[], of: number[]) => basis.reduce((sum, one, i) => sum + one * of[i], 0);
    expect(value(after[band], turned)).toBeCloseTo(value(before[band], coefficients), 12);
  });
});

test("a Gaussian is turned by all turns that are made of it, and by no others", () => {
  const about = (axis: number[]) => ({ operation: "rotate" as const, axis, degrees: 90, centre: [0, 0, 0] });
  const turns = new Turns([{ rows: rows(1, 1, 0), transform: about([1, 0, 0]) }, { rows: rows(0, 1, 0), transform: about([0, 0, 1]) }]);
  expect([0, 1, 2].map((row) => turns.has(row))).toEqual([true, true, false]);
  expect(turns.of(2)).toBeNull();
  const both = bandTurns(multiply(quaternion([0, 0, 1], 90), quaternion([1, 0, 0], 90)));
  close(turns.of(1)!.flat(2), both.flat(2));
});

test("a pointer slides along an axis and over a plane, and turns about a ring", () => {
  const down = (x: number, y: number) => ({ origin: [x, y, 10], direction: [0, 0, -1] });
  expect(nearestOnAxis([0, 0, 0], [1, 0, 0], down(3, 5))).toBeCloseTo(3);
  close(onPlane([0, 0, 4], [0, 0, 1], down(3, 5))!, [3, 5, 4]);
  expect(onPlane([0, 0, 20], [0, 0, 1], down(3, 5))).toBeNull();
  expect(turnedBy([1, 1, 0], 2, down(2, 1), down(1, 2))).toBeCloseTo(90);
  expect(turnedBy([1, 1, 0], 2, down(0, 1.1), down(0, 0.9))).toBeCloseTo(11.42, 1);
});

test("an arrow towards the viewer and a ring seen from its edge are no handles", () => {
  const view = camera(800, 600);
  const outlines = (kind: "move" | "rotate") => [0, 1, 2].map((axis) => outline({ kind, axis }, [0, 0, -10], view) !== "");
  expect(outlines("move")).toEqual([true, true, false]);
  expect(outlines("rotate")).toEqual([false, false, true]);
});
