import { describe, expect, test } from "vitest";
import { VOID } from "../src/scores";
import { type Shown, countLabels, heatColor, paint, select } from "../src/selection";

const original = Uint8Array.from([10, 20, 30, 200, 40, 50, 60, 100]);
const shown: Shown = {
  mode: "colours",
  scores: Float32Array.from([0.9, 0.1]),
  threshold: 0.5,
  range: [0, 1],
  labels: Uint8Array.from([1, VOID]),
  classColors: [[0, 0, 0], [1, 0, 0]],
  isolated: null,
};

function painted(changes: Partial<Shown>): number[] {
  const out = new Uint8Array(8);
  paint(original, out, 4, 2, { ...shown, ...changes }, [0, 1]);
  return [...out];
}

test("what reaches the threshold is selected, and what has no feature never", () => {
  expect(select(Float32Array.from([0.5, 0.4, 0]), 0.5)).toEqual([0]);
  expect(select(Float32Array.from([0.5, 0]), 0)).toEqual([0]);
});

describe("painting", () => {
  test("colours are the scene's own", () => expect(painted({})).toEqual([...original]));
  test("isolate hides the others, hide the selected", () => {
    expect([3, 7].map((i) => painted({ mode: "isolate" })[i])).toEqual([200, 0]);
    expect([3, 7].map((i) => painted({ mode: "hide" })[i])).toEqual([0, 100]);
  });
  test("heat leaves opacities alone and makes the others grey", () => {
    const [, , , alpha, r, g, b, other] = painted({ mode: "heat" });
    expect([alpha, other]).toEqual([200, 100]);
    expect(r === g && g === b).toBe(true);
  });
  test("classes have their colours, and an isolated one is alone", () => {
    expect(painted({ mode: "classes" }).slice(0, 4)).toEqual([255, 0, 0, 200]);
    expect([3, 7].map((i) => painted({ mode: "classes", isolated: 1 })[i])).toEqual([200, 0]);
  });
  test("colours are encoded in the scene's range", () => {
    const out = new Uint8Array(8);
    paint(original, out, 4, 2, { ...shown, mode: "classes" }, [-1, 1]);
    expect([...out].slice(0, 3)).toEqual([255, 128, 128]);
  });
});

test("labels are counted without void", () => expect(countLabels(Uint8Array.from([1, 1, VOID]), 2)).toEqual([0, 2]));
test("heat goes from dark to bright", () => {
  expect(heatColor(-1)).toEqual(heatColor(0));
  expect(heatColor(2)[0]).toBeCloseTo(253 / 255);
});
