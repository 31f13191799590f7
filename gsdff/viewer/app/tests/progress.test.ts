import { expect, test } from "vitest";
import { timeLeft } from "../src/progress";

test("the time left follows from what has been done so far, in words", () => {
  expect(timeLeft(0.25, 10_000)).toBe("about 30 s left");
  expect(timeLeft(0.1, 60_000)).toBe("about 9 min left");
  expect(timeLeft(1, 60_000)).toBe("about 1 s left");
});

test("nothing is said before there is something to tell it from", () => {
  expect([timeLeft(0, 60_000), timeLeft(0.5, 100)]).toEqual(["", ""]);
});
