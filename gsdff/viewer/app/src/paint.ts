// The colour and opacity that every Gaussian is drawn in.

import { mapColor } from "./colormaps";
import { isSelected } from "./selection";
import { VOID } from "./scores";
import { BEFORE, type Mode, type Shown, type Side, isAnswerMode } from "./shown";

const GREY = 0.25;
// Colours of the thing that is marked and of what is selected, and their share of the Gaussian's colour.
const MARK = [1, 0.8, 0.1];
const SELECTED = [1, 0.55, 0.05];
const MARK_SHARE = 0.55;
const LEVELS = 256;
// Weights of red, green and blue in luminance, as in gsdff/editing/functional.py.
export const LUMINANCE = [0.2126, 0.7152, 0.0722];

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

// Which things or classes are drawn, by number; null for all.
function drawnOf(count: number, hidden: Set<number>, isolated: number | null): Uint8Array | null {
  if (isolated === null && !hidden.size) return null;
  const drawn = new Uint8Array(count).fill(isolated === null ? 1 : 0);
  if (isolated !== null) drawn[isolated] = 1;
  else hidden.forEach((id) => (drawn[id] = 0));
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
  const { mode, labels, sides, things, threshold, selected, deleted, tinted } = shown;
  const scores = isAnswerMode(mode) ? shown.scores : null;
  const heat = encode(Array.from({ length: LEVELS }, (_, i) => mapColor(shown.colorMap, i / (LEVELS - 1))), colorRange);
  const greys = dimmed(colorRange);
  const [grey] = encode([[GREY]], colorRange);
  const classes = mode === "classes" && labels ? encode(shown.classColors, colorRange) : null;
  const byThing = mode === "things" && things ? encode(shown.thingColors, colorRange) : null;
  const [mark, chosen] = [MARK, SELECTED].map((color) => encode([color], colorRange));
  const drawnThings = things && drawnOf(shown.thingColors.length, shown.hiddenThings, shown.isolatedThing);
  const drawnClasses = drawnOf(shown.classColors.length, shown.hiddenClasses, shown.isolated);
  const [low, high] = shown.range;
  const scale = (LEVELS - 1) / Math.max(high - low, 1e-6);
  for (let row = 0, at = 0; row < numGaussians; row++, at += stride) {
    let [r, g, b] = [original[at], original[at + 1], original[at + 2]];
    let isHidden = (sides !== null && (sides[row] & side) === 0) || (deleted !== null && deleted[row] === 1);
    if (drawnThings !== null) isHidden ||= !drawnThings[things![row]];
    if (classes) {
      const label = labels![row];
      if (label === VOID) r = g = b = grey;
      else [r, g, b] = [classes[3 * label], classes[3 * label + 1], classes[3 * label + 2]];
      if (drawnClasses) isHidden ||= label === VOID ? shown.isolated !== null : !drawnClasses[label];
    } else if (byThing) {
      const thing = 3 * things![row];
      [r, g, b] = [byThing[thing], byThing[thing + 1], byThing[thing + 2]];
    } else {
      if (tinted !== null && tinted[row]) [r, g, b] = tint([r, g, b], shown.tints[tinted[row] - 1], colorRange);
      if (scores) {
        const is = isSelected(scores, row, threshold);
        if (mode !== "heat") isHidden ||= is === (mode === "hide");
        else if (is) {
          const level = 3 * Math.round(Math.min(Math.max((scores[row] - low) * scale, 0), LEVELS - 1));
          [r, g, b] = [heat[level], heat[level + 1], heat[level + 2]];
        } else r = g = b = greys[r + g + b];
      }
    }
    const over =
      selected !== null && selected[row]
        ? chosen
        : things !== null && shown.selectedThing !== null && things[row] === shown.selectedThing
          ? mark
          : null;
    if (over) {
      r += MARK_SHARE * (over[0] - r);
      g += MARK_SHARE * (over[1] - g);
      b += MARK_SHARE * (over[2] - b);
    }
    out[at] = r;
    out[at + 1] = g;
    out[at + 2] = b;
    out[at + 3] = isHidden ? 0 : original[at + 3];
  }
}

// A colour's luminance times a colour of luminance 1, in bytes: what the edit `recolor` does.
function tint(bytes: number[], hue: number[], [low, high]: [number, number]): [number, number, number] {
  const luminance = bytes.reduce((sum, byte, i) => sum + LUMINANCE[i] * (low + ((high - low) * byte) / 255), 0);
  const encoded = hue.map((value) => Math.min(Math.max(((value * luminance - low) / (high - low)) * 255, 0), 255));
  return encoded.map(Math.round) as [number, number, number];
}
