import { expect, test } from "vitest";
import { medianOf } from "../src/statistics";

test("a stray does not move the median, and nothing has none", () => {
  const positions = Float32Array.from([0, 0, 0, 1, 2, 3, 2, 4, 6, 1000, 1000, 1000, 7, 7, 7]);
  expect(medianOf(Uint8Array.from([1, 1, 1, 0, 0]), positions)).toEqual([1, 2, 3]);
  expect(medianOf(Uint8Array.from([0, 1, 1, 1, 0]), positions)).toEqual([2, 4, 6]);
  expect(medianOf(new Uint8Array(5), positions)).toBeNull();
});
