import { describe, expect, test } from "vitest";
import { boundsOf, inRegion } from "../src/regions";
import { rowsIn } from "../src/selection";
import { pixelsPerUnit, project } from "../src/view";
import { camera } from "./views";

// a window of 200 x 100 pixels; a unit at depth 10 is 10 pixels
const view = camera(200, 100);
// at depth 10: the middle, 30 pixels right, 30 left, 20 up; and behind the middle, and behind the camera
const points = [0, 0, -10, 3, 0, -10, -3, 0, -10, 0, 2, -10, 0, 0, -20, 0, 0, 5];
const positions = Float32Array.from(points);
const all = new Uint8Array(6).fill(1);
const held = (region: Parameters<typeof inRegion>[0], candidates = all) => rowsIn(inRegion(region, view, positions, candidates));

test("points are where the camera sees them, rows from the top", () => {
  expect(project(view, [3, 2, -10])).toEqual({ at: [130, 30], depth: 10 });
  expect(project(view, [0, 0, 5])).toBeNull();
  expect(pixelsPerUnit(view, 10)).toBeCloseTo(10);
});

describe("a region holds the middles in it, at all depths", () => {
  test("a box, drawn from any corner", () => {
    expect(held({ kind: "box", from: [135, 55], to: [95, 45] })).toEqual([0, 1, 4]);
  });
  test("a lasso, and not what its box has beside it", () => {
    const points: [number, number][] = [[95, 20], [105, 20], [105, 60], [140, 60], [140, 65], [95, 65]];
    expect(held({ kind: "lasso", points })).toEqual([0, 3, 4]);
  });
  test("a brush, along its line and as far as it is wide", () => {
    expect(held({ kind: "brush", points: [[70, 54], [100, 54]], radius: 5 })).toEqual([0, 2, 4]);
    expect(held({ kind: "brush", points: [[100, 54]], radius: 3 })).toEqual([]);
  });
  test("a sphere of the scene, in front of the camera or behind", () => {
    expect(held({ kind: "sphere", centre: [0, 0, -10], radius: 2 })).toEqual([0, 3]);
    expect(held({ kind: "sphere", centre: [0, 0, 5], radius: 0.1 })).toEqual([5]);
  });
  test("and of the candidates alone", () => {
    expect(held({ kind: "box", from: [0, 0], to: [200, 100] }, Uint8Array.from([0, 1, 0, 0, 1, 1]))).toEqual([1, 4]);
  });
});

test("a brush's bounds reach beyond its line", () => {
  expect(boundsOf({ kind: "brush", points: [[10, 20]], radius: 4 })).toEqual({ left: 6, top: 16, right: 14, bottom: 24 });
});

test("what lies before the near plane or behind the far one is in no region", () => {
  const positions = Float32Array.from([0, 0, -1, 0, 0, -5, 0, 0, -20]);
  const view = { ...camera(800, 600), near: 2, far: 10 };
  const all = Uint8Array.from([1, 1, 1]);
  const box = { kind: "box" as const, from: [0, 0] as [number, number], to: [800, 600] as [number, number] };
  expect([...inRegion(box, view, positions, all)]).toEqual([0, 1, 0]);
  expect([...inRegion({ kind: "sphere", centre: [0, 0, 0], radius: 100 }, view, positions, all)]).toEqual([0, 1, 0]);
});
