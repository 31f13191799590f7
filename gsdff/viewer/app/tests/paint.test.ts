import { describe, expect, test } from "vitest";
import { paint } from "../src/paint";
import { VOID } from "../src/scores";
import { AFTER, BEFORE, type Shown, type Side } from "../src/shown";

const original = Uint8Array.from([10, 20, 30, 200, 40, 50, 60, 100]);
const shown: Shown = {
  mode: "colours",
  scores: Float32Array.from([0.9, 0.1]),
  threshold: 0.5,
  range: [0, 1],
  labels: Uint8Array.from([1, VOID]),
  classColors: [[0, 0, 0], [1, 0, 0]],
  colorMap: "viridis",
  isolated: null,
  hiddenClasses: new Set(),
  things: Uint8Array.from([2, 0]),
  thingColors: [[0, 0, 0], [1, 1, 1], [0, 1, 0]],
  hiddenThings: new Set(),
  isolatedThing: null,
  selectedThing: null,
  sides: null,
  selected: null,
  hidden: null,
  deleted: null,
  tinted: null,
  tints: [],
  moves: [],
  moving: null,
};

function painted(changes: Partial<Shown>, side: Side = BEFORE): number[] {
  const out = new Uint8Array(8);
  paint(original, out, 4, 2, { ...shown, ...changes }, { colorRange: [0, 1], side });
  return [...out];
}

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
  test("what is deleted is hidden in every mode, and what is selected is marked", () => {
    for (const mode of ["colours", "heat", "classes", "things"] as const) {
      expect([3, 7].map((i) => painted({ mode, deleted: Uint8Array.from([1, 0]) })[i])).toEqual([0, 100]);
    }
    const marked = painted({ selected: Uint8Array.from([0, 1]) });
    expect(marked.slice(0, 4)).toEqual([...original].slice(0, 4));
    expect(marked.slice(4, 7)).not.toEqual([...original].slice(4, 7));
  });
  test("a hidden class is not drawn, and the others are", () => {
    expect([3, 7].map((i) => painted({ mode: "classes", hiddenClasses: new Set([1]) })[i])).toEqual([0, 100]);
    expect([3, 7].map((i) => painted({ mode: "classes", hiddenClasses: new Set([0]) })[i])).toEqual([200, 100]);
  });
  test("what is hidden by hand is not drawn, whatever the mode", () => {
    const modes = ["colours", "heat", "classes", "things"] as const;
    const drawn = modes.map((mode) => painted({ mode, hidden: Uint8Array.from([1, 0]) }));
    expect(drawn.map((bytes) => [bytes[3], bytes[7]])).toEqual(modes.map(() => [0, 100]));
  });
  test("a tint has the hue's channels and the Gaussian's luminance", () => {
    const [r, g, b] = painted({ tinted: Uint16Array.from([1, 0]), tints: [[1, 1, 1]] });
    expect([r, g, b]).toEqual(Array(3).fill(Math.round(0.2126 * 10 + 0.7152 * 20 + 0.0722 * 30)));
  });
  test("heat runs from the lowest colour to the highest of the range", () => {
    const colors = [0.5, 2].map((score) => painted({ mode: "heat", scores: Float32Array.from([score, 0]), range: [0.5, 1] }).slice(0, 3));
    expect(colors).toEqual([[68, 1, 84], [253, 231, 37]]);
  });
});
