import { describe, expect, test } from "vitest";
import { VOID } from "../src/scores";
import { AFTER, BEFORE, type Shown, type Side, countLabels, countSelected, heatColor, paint, select } from "../src/selection";

const original = Uint8Array.from([10, 20, 30, 200, 40, 50, 60, 100]);
const shown: Shown = {
  mode: "colours",
  scores: Float32Array.from([0.9, 0.1]),
  threshold: 0.5,
  range: [0, 1],
  labels: Uint8Array.from([1, VOID]),
  classColors: [[0, 0, 0], [1, 0, 0]],
  isolated: null,
  things: Uint8Array.from([2, 0]),
  thingColors: [[0, 0, 0], [1, 1, 1], [0, 1, 0]],
  hiddenThings: new Set(),
  isolatedThing: null,
  selectedThing: null,
  sides: null,
};

function painted(changes: Partial<Shown>, side: Side = BEFORE): number[] {
  const out = new Uint8Array(8);
  paint(original, out, 4, 2, { ...shown, ...changes }, { colorRange: [0, 1], side });
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
  test("things have their colours, are hidden, alone and marked", () => {
    expect(painted({ mode: "things" }).slice(0, 4)).toEqual([0, 255, 0, 200]);
    const alphas = (changes: Partial<Shown>) => [3, 7].map((i) => painted(changes)[i]);
    expect(alphas({ hiddenThings: new Set([2]) })).toEqual([0, 100]);
    expect(alphas({ isolatedThing: 2 })).toEqual([200, 0]);
    expect(alphas({ isolatedThing: 2, hiddenThings: new Set([2]) })).toEqual([200, 0]);
    const [r, g, b, alpha] = painted({ selectedThing: 2 });
    expect([r > 100, g > 80, b < 40, alpha]).toEqual([true, true, true, 200]);
    expect(painted({ selectedThing: 2 }).slice(4)).toEqual([...original].slice(4));
  });
  test("either side of an edit shows its own Gaussians", () => {
    const sides = Uint8Array.from([BEFORE, BEFORE | AFTER]);
    expect([3, 7].map((i) => painted({ sides })[i])).toEqual([200, 100]);
    expect([3, 7].map((i) => painted({ sides }, AFTER)[i])).toEqual([0, 100]);
  });
  test("colours are encoded in the scene's range", () => {
    const out = new Uint8Array(8);
    paint(original, out, 4, 2, { ...shown, mode: "classes" }, { colorRange: [-1, 1] });
    expect([...out].slice(0, 3)).toEqual([255, 128, 128]);
  });
});

test("what is on a side is selected and counted there", () => {
  const scores = Float32Array.from([0.9, 0.8, 0.1]);
  const sides = Uint8Array.from([BEFORE, AFTER, AFTER]);
  expect(select(scores, 0.5, sides, AFTER)).toEqual([1]);
  expect(countSelected(scores, 0.5, sides, BEFORE)).toBe(1);
  expect(countSelected(scores, 0.5, null, BEFORE)).toBe(2);
  expect(countLabels(Uint8Array.from([0, 0, 0]), 1, sides)).toEqual([1]);
});
test("labels are counted without void", () => expect(countLabels(Uint8Array.from([1, 1, VOID]), 2)).toEqual([0, 2]));
test("heat goes from dark to bright", () => {
  expect(heatColor(-1)).toEqual(heatColor(0));
  expect(heatColor(2)[0]).toBeCloseTo(253 / 255);
});
