// The colour and opacity that every Gaussian is drawn in.

import { mapColor } from "./colormaps";
import { VOID } from "./scores";
import { BEFORE, type Mode, type Shown, type Side, isAnswerMode } from "./shown";

const GREY = 0.25;
// Colours of the thing that is marked and of what is selected, and their share of the Gaussian's colour.
const MARK = [1, 0.8, 0.1];
const SELECTED = [1, 0.55, 0.05];
const MARK_SHARE = 0.55;
const LEVELS = 256;
const [COLOR, ALPHA] = [0x00ffffff, 0xff000000];
// Weights of red, green and blue in luminance, as in gsdff/editing/functional.py.
export const LUMINANCE = [0.2126, 0.7152, 0.0722];

// Whether a mode gives Gaussians colours of its own, which are the same from all sides.
export const isFlat = (mode: Mode) => mode === "heat" || mode === "classes" || mode === "things";

// Colours in bytes of the range that the file's colours are stored in, three for each.
function encode(colors: number[][], [low, high]: [number, number]): Uint8ClampedArray {
  return Uint8ClampedArray.from(colors.flat().map((value) => Math.round((255 * (value - low)) / (high - low))));
}

// Grey of what is not selected, for each sum of a colour's three bytes.
function dimmed([low, high]: [number, number]): Uint32Array {
  const sums = Array.from({ length: 3 * 255 + 1 }, (_, sum) => GREY * 0.5 + 0.35 * (low + ((high - low) * sum) / 765));
  return words(sums.map((grey) => [grey, grey, grey]), [low, high]);
}

// Colours as they lie in memory: red is the lowest byte.
const word = (r: number, g: number, b: number) => r | (g << 8) | (b << 16);

function words(colors: number[][], range: [number, number]): Uint32Array {
  const bytes = encode(colors, range);
  return Uint32Array.from(colors, (_, i) => word(bytes[3 * i], bytes[3 * i + 1], bytes[3 * i + 2]));
}

// Which things or classes are drawn, by number; null for all.
function drawnOf(count: number, hidden: Set<number>, isolated: number | null): Uint8Array | null {
  if (isolated === null && !hidden.size) return null;
  const drawn = new Uint8Array(count).fill(isolated === null ? 1 : 0);
  if (isolated !== null) drawn[isolated] = 1;
  else hidden.forEach((id) => (drawn[id] = 0));
  return drawn;
}

// A row for each byte that a label can be: those beyond the classes, which are void, have one of their own.
function byLabel<T extends Uint32Array | Uint8Array>(values: T, ofVoid: number): T {
  const table = new (values.constructor as new (length: number) => T)(VOID + 1).fill(ofVoid) as T;
  table.set(values);
  return table;
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
  const { mode, labels, sides, things, threshold, selected, hidden, deleted, tinted, selectedThing } = shown;
  const scores = isAnswerMode(mode) ? shown.scores : null;
  const [isHeat, isHide] = [mode === "heat", mode === "hide"];
  const heat = words(Array.from({ length: LEVELS }, (_, i) => mapColor(shown.colorMap, i / (LEVELS - 1))), colorRange);
  const greys = dimmed(colorRange);
  const [grey] = words([[GREY, GREY, GREY]], colorRange);
  const classes = mode === "classes" && labels ? byLabel(words(shown.classColors, colorRange), grey) : null;
  const byThing = mode === "things" && things ? words(shown.thingColors, colorRange) : null;
  const [mark, chosen] = [MARK, SELECTED].map((color) => encode([color], colorRange));
  const drawnThings = things && drawnOf(shown.thingColors.length, shown.hiddenThings, shown.isolatedThing);
  const drawn = drawnOf(shown.classColors.length, shown.hiddenClasses, shown.isolated);
  const drawnClasses = classes && drawn && byLabel(drawn, shown.isolated === null ? 1 : 0);
  const [low, high] = shown.range;
  const scale = (LEVELS - 1) / Math.max(high - low, 1e-6);
  // whole words: four bytes one by one take several times as long
  const [from, to] = [original, out].map((bytes) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2));
  const step = stride >> 2;
  for (let row = 0, at = 0; row < numGaussians; row++, at += step) {
    const stored = from[at];
    let color = stored & COLOR;
    let isHidden = (sides !== null && (sides[row] & side) === 0) || (deleted !== null && deleted[row] === 1);
    if ((hidden !== null && hidden[row]) || (drawnThings !== null && !drawnThings[things![row]])) isHidden = true;
    if (classes !== null) {
      const label = labels![row];
      color = classes[label];
      if (drawnClasses !== null && !drawnClasses[label]) isHidden = true;
    } else if (byThing !== null) {
      color = byThing[things![row]];
    } else {
      if (tinted !== null && tinted[row]) color = tint(color, shown.tints[tinted[row] - 1], colorRange);
      if (scores !== null) {
        const score = scores[row];
        const is = score > 0 && score >= threshold; // as `isSelected`
        if (!isHeat) {
          if (is === isHide) isHidden = true;
        } else if (is) {
          const level = (score - low) * scale;
          color = heat[level > 0 ? (level < LEVELS - 1 ? (level + 0.5) | 0 : LEVELS - 1) : 0];
        } else color = greys[(color & 255) + ((color >> 8) & 255) + (color >> 16)];
      }
    }
    if (selected !== null && selected[row]) color = blend(color, chosen);
    else if (selectedThing !== null && things !== null && things[row] === selectedThing) color = blend(color, mark);
    to[at] = isHidden ? color : color | (stored & ALPHA);
  }
}

// A colour with a mark's over it.
function blend(color: number, over: Uint8ClampedArray): number {
  const mix = (byte: number, other: number) => (byte + MARK_SHARE * (other - byte)) | 0;
  return word(mix(color & 255, over[0]), mix((color >> 8) & 255, over[1]), mix(color >> 16, over[2]));
}

// A colour's luminance times a colour of luminance 1: what the edit `recolor` does.
function tint(color: number, hue: number[], [low, high]: [number, number]): number {
  const value = (byte: number) => low + ((high - low) * byte) / 255;
  const [red, green, blue] = LUMINANCE;
  const luminance = red * value(color & 255) + green * value((color >> 8) & 255) + blue * value(color >> 16);
  const encoded = (i: number) => Math.round(Math.min(Math.max(((hue[i] * luminance - low) / (high - low)) * 255, 0), 255));
  return word(encoded(0), encoded(1), encoded(2));
}
