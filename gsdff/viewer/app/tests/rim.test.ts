import { describe, expect, test } from "vitest";
import { NEIGHBOURS, Tree, possibleRim, withRim } from "../src/rim";
import { rowsIn } from "../src/selection";

// Numbers from 0 to 1, the same every time.
function randomly(): () => number {
  let state = 1;
  return () => (state = (state * 16807) % 2147483647) / 2147483647;
}

// Points in clusters, some of them in one place.
function cloud(count: number): Float32Array {
  const random = randomly();
  return Float32Array.from({ length: 3 * count }, (_, i) => Math.round(64 * (random() ** 2 + (i % 5))) / 64);
}

const squareBetween = (points: Float32Array, a: number, b: number) =>
  [0, 1, 2].reduce((sum, axis) => sum + (points[3 * a + axis] - points[3 * b + axis]) ** 2, 0);

describe("the nearest neighbours", () => {
  test.each([1, 2, 13, 700])("are those that a search of all %s points finds, without the point itself", (count) => {
    const points = cloud(count);
    const there = Uint8Array.from({ length: count }, (_, row) => (row % 7 ? 1 : 0));
    const tree = new Tree(points, there);
    for (let row = 0; row < count; row++) {
      const near = [...tree.nearest(row, NEIGHBOURS)];
      const others = rowsIn(there).filter((other) => other !== row);
      const all = others.map((other) => squareBetween(points, row, other)).sort((a, b) => a - b);
      expect(near.map((other) => squareBetween(points, row, other))).toEqual(all.slice(0, NEIGHBOURS));
      expect(new Set(near).size).toBe(near.length);
      expect(near.every((other) => there[other] && other !== row)).toBe(true);
    }
  });
});

describe("the rim", () => {
  // on a line, each next to its neighbours
  const points = Float32Array.from({ length: 3 * 200 }, (_, i) => (i % 3 ? 0 : i / 3));
  const mask = (holds: (row: number) => boolean) => Uint8Array.from({ length: 200 }, (_, row) => (holds(row) ? 1 : 0));
  const all = mask(() => true);
  test("is what has four selected ones among its 32 nearest", () => {
    const found = withRim(points, all, mask((row) => row >= 50 && row < 100), all);
    // 16 on each side: four of them are selected up to 13 away
    expect(rowsIn(found)).toEqual(Array.from({ length: 76 }, (_, i) => 37 + i));
  });
  test("has nothing that is clearly something else, and one stray has none", () => {
    const selected = mask((row) => row >= 50 && row < 100);
    expect(rowsIn(withRim(points, all, selected, mask((row) => row < 60)))).toEqual(Array.from({ length: 63 }, (_, i) => 37 + i));
    expect(rowsIn(withRim(points, all, mask((row) => row === 50), all))).toEqual([50]);
  });
  test("may be what scores a hundredth of the threshold, and is there", () => {
    const scores = Float32Array.from([0.5, 0.0051, 0.0049, 0, 0.4]);
    expect(rowsIn(possibleRim(scores, 0.5, Uint8Array.from([1, 1, 1, 1, 0])))).toEqual([0, 1]);
  });
});
