// What a question selects, and the colour and opacity that every Gaussian is drawn in.

import { VOID } from "./scores";

export type Mode = "colours" | "heat" | "isolate" | "hide" | "classes" | "things";

export type ThingIds = Uint8Array | Uint16Array;

// Sides of an edit, as bits of the column `sides`.
export const BEFORE = 1;
export const AFTER = 2;
export type Side = typeof BEFORE | typeof AFTER;

export type Shown = {
  mode: Mode;
  scores: Float32Array | null;
  threshold: number;
  range: [number, number];
  labels: Uint8Array | null;
  classColors: number[][];
  // Class that is drawn alone; null draws all.
  isolated: number | null;
  // Thing of every Gaussian, 0 for none; colours by the number of the thing.
  things: ThingIds | null;
  thingColors: number[][];
  hiddenThings: Set<number>;
  // Thing that is drawn alone, and the one that is marked.
  isolatedThing: number | null;
  selectedThing: number | null;
  // Sides on which every Gaussian is; null without an edit.
  sides: Uint8Array | null;
};

// viridis, at nine points
const HEAT = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];
const GREY = 0.25;
// Colour of what is marked, and its share of the Gaussian's colour.
const MARK = [1, 0.8, 0.1];
const MARK_SHARE = 0.55;
const LEVELS = 256;

export function heatColor(share: number): [number, number, number] {
  const at = Math.min(Math.max(share, 0), 1) * (HEAT.length - 1);
  const low = Math.min(Math.floor(at), HEAT.length - 2);
  const [a, b] = [HEAT[low], HEAT[low + 1]];
  return [0, 1, 2].map((i) => (a[i] + (at - low) * (b[i] - a[i])) / 255) as [number, number, number];
}

// Relevancy is above 0 wherever there is a feature at all.
export function isSelected(scores: Float32Array, row: number, threshold: number): boolean {
  return scores[row] > 0 && scores[row] >= threshold;
}

const isOn = (sides: Uint8Array | null, row: number, side: Side) => sides === null || (sides[row] & side) !== 0;

export function select(scores: Float32Array, threshold: number, sides: Uint8Array | null = null, side: Side = BEFORE): number[] {
  const found: number[] = [];
  for (let row = 0; row < scores.length; row++) {
    if (isSelected(scores, row, threshold) && isOn(sides, row, side)) found.push(row);
  }
  return found;
}

export function countSelected(scores: Float32Array, threshold: number, sides: Uint8Array | null, side: Side): number {
  let count = 0;
  for (let row = 0; row < scores.length; row++) {
    if (scores[row] >= threshold && isSelected(scores, row, threshold) && isOn(sides, row, side)) count++;
  }
  return count;
}

export function countLabels(labels: Uint8Array, numClasses: number, sides: Uint8Array | null = null): number[] {
  const counts = new Array<number>(numClasses).fill(0);
  labels.forEach((label, row) => {
    if (label !== VOID && isOn(sides, row, BEFORE)) counts[label]++;
  });
  return counts;
}

// Whether a mode gives Gaussians colours of its own, which are the same from all sides.
export const isFlat = (mode: Mode) => mode === "heat" || mode === "classes" || mode === "things";

// Colours in bytes of the range that the file's colours are stored in, three for each.
function encode(colors: number[][], [low, high]: [number, number]): Uint8ClampedArray {
  return Uint8ClampedArray.from(colors.flat().map((value) => Math.round((255 * (value - low)) / (high - low))));
}

// Grey of what is not selected, for each sum of a colour's three bytes.
function dimmed([low, high]: [number, number]): Uint8ClampedArray {
  const sums = Array.from({ length: 3 * 255 + 1 }, (_, sum) => {
    const grey = GREY * 0.5 + 0.35 * (low + ((high - low) * sum) / 765);
    return [grey];
  });
  return encode(sums, [low, high]);
}

// Which things are drawn, by number; null for all.
function drawnThings({ things, hiddenThings, isolatedThing, thingColors }: Shown): Uint8Array | null {
  if (!things || (isolatedThing === null && !hiddenThings.size)) return null;
  const drawn = new Uint8Array(thingColors.length).fill(isolatedThing === null ? 1 : 0);
  if (isolatedThing !== null) drawn[isolatedThing] = 1;
  else hiddenThings.forEach((id) => (drawn[id] = 0));
  return drawn;
}

// Colour and opacity of every Gaussian, in bytes of Spark's layout: rows of `stride` bytes in `out`, RGBA first.
export function paint(
  original: Uint8Array,
  out: Uint8Array,
  stride: number,
  numGaussians: number,
  shown: Shown,
  { colorRange, side = BEFORE }: { colorRange: [number, number]; side?: Side },
): void {
  const { mode, labels, sides, things, threshold } = shown;
  const scores = mode === "classes" || mode === "things" || mode === "colours" ? null : shown.scores;
  const heat = encode(Array.from({ length: LEVELS }, (_, i) => heatColor(i / (LEVELS - 1))), colorRange);
  const greys = dimmed(colorRange);
  const [grey] = encode([[GREY]], colorRange);
  const classes = mode === "classes" && labels ? encode(shown.classColors, colorRange) : null;
  const byThing = mode === "things" && things ? encode(shown.thingColors, colorRange) : null;
  const mark = encode([MARK], colorRange);
  const drawn = drawnThings(shown);
  const [low, high] = shown.range;
  const scale = (LEVELS - 1) / Math.max(high - low, 1e-6);
  for (let row = 0, at = 0; row < numGaussians; row++, at += stride) {
    let [r, g, b] = [original[at], original[at + 1], original[at + 2]];
    let isHidden = (sides !== null && (sides[row] & side) === 0) || (drawn !== null && !drawn[things![row]]);
    if (classes) {
      const label = labels![row];
      if (label === VOID) r = g = b = grey;
      else [r, g, b] = [classes[3 * label], classes[3 * label + 1], classes[3 * label + 2]];
      isHidden ||= shown.isolated !== null && label !== shown.isolated;
    } else if (byThing) {
      const thing = 3 * things![row];
      [r, g, b] = [byThing[thing], byThing[thing + 1], byThing[thing + 2]];
    } else if (scores) {
      const is = scores[row] > 0 && scores[row] >= threshold;
      if (mode !== "heat") isHidden ||= is === (mode === "hide");
      else if (is) {
        const level = 3 * Math.round(Math.min(Math.max((scores[row] - low) * scale, 0), LEVELS - 1));
        [r, g, b] = [heat[level], heat[level + 1], heat[level + 2]];
      } else r = g = b = greys[r + g + b];
    }
    if (things !== null && shown.selectedThing !== null && things[row] === shown.selectedThing) {
      r += MARK_SHARE * (mark[0] - r);
      g += MARK_SHARE * (mark[1] - g);
      b += MARK_SHARE * (mark[2] - b);
    }
    out[at] = r;
    out[at + 1] = g;
    out[at + 2] = b;
    out[at + 3] = isHidden ? 0 : original[at + 3];
  }
}
