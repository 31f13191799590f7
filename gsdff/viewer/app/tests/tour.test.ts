import { expect, test } from "vitest";
import { poseAt } from "../src/tour";

const frame = (x: number) => [x, 0, 0, 0, 0, 1, 0, -1, 0, 0.5 + x];
const tour = { seconds: 4, frames: [frame(0), frame(1), frame(4)] };

test("poses are between the frames, and stay within the tour", () => {
  expect(poseAt(tour, 1).position).toEqual([0.5, 0, 0]);
  expect(poseAt(tour, 3)).toEqual({ position: [2.5, 0, 0], forward: [0, 0, 1], up: [0, -1, 0], fovY: 3 });
  expect(poseAt(tour, -1).position).toEqual([0, 0, 0]);
  expect(poseAt(tour, 9).position).toEqual([4, 0, 0]);
  expect(poseAt({ seconds: 1, frames: [frame(1)] }, 0.5).position).toEqual([1, 0, 0]);
});
