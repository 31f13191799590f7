// What a question selects, and the colour and opacity that every Gaussian is drawn in.

import { VOID } from "./scores";

export type Mode = "colours" | "heat" | "isolate" | "hide" | "classes";

export type Shown = {
  mode: Mode;
  scores: Float32Array | null;
  threshold: number;
  range: [number, number];
  labels: Uint8Array | null;
  classColors: number[][];
  // Class that is drawn alone; null draws all.
  isolated: number | null;
};

// viridis, at nine points
const HEAT = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];
const GREY = 0.25;

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

export function select(scores: Float32Array, threshold: number): number[] {
  const found: number[] = [];
  for (let row = 0; row < scores.length; row++) if (isSelected(scores, row, threshold)) found.push(row);
  return found;
}

export function countLabels(labels: Uint8Array, numClasses: number): number[] {
  const counts = new Array<number>(numClasses).fill(0);
  for (const label of labels) if (label !== VOID) counts[label]++;
  return counts;
}

// Whether a mode gives Gaussians colours of its own, which are the same from all sides.
export const isFlat = (mode: Mode) => mode === "heat" || mode === "classes";

// Colour and opacity of every Gaussian, in bytes of Spark's layout: rows of `stride` bytes in `out`, RGBA first.
export function paint(
  original: Uint8Array,
  out: Uint8Array,
  stride: number,
  numGaussians: number,
  shown: Shown,
  colorRange: [number, number],
): void {
  const [low, high] = colorRange;
  const byte = (value: number) => Math.round((255 * (value - low)) / (high - low));
  const encode = (color: number[]) => color.map(byte);
  const { mode, scores, labels } = shown;
  const heat = Array.from({ length: 256 }, (_, i) => encode(heatColor(i / 255)));
  const classes = shown.classColors.map(encode);
  const span = Math.max(shown.range[1] - shown.range[0], 1e-6);
  for (let row = 0, at = 0; row < numGaussians; row++, at += stride) {
    let color: ArrayLike<number> = original.subarray(at, at + 3);
    let isHidden = false;
    if (mode === "classes" && labels) {
      color = labels[row] === VOID ? encode([GREY, GREY, GREY]) : classes[labels[row]];
      isHidden = shown.isolated !== null && labels[row] !== shown.isolated;
    } else if (scores && mode !== "colours") {
      const is = isSelected(scores, row, shown.threshold);
      if (mode === "heat") {
        const share = Math.min(Math.max((scores[row] - shown.range[0]) / span, 0), 1);
        if (is) color = heat[Math.round(255 * share)];
        else {
          const [r, g, b] = color as Uint8Array;
          const grey = GREY * 0.5 + 0.35 * (low + ((high - low) * (r + g + b)) / 765);
          color = encode([grey, grey, grey]);
        }
      } else isHidden = is === (mode === "hide");
    }
    out[at] = Math.min(Math.max(color[0], 0), 255);
    out[at + 1] = Math.min(Math.max(color[1], 0), 255);
    out[at + 2] = Math.min(Math.max(color[2], 0), 255);
    out[at + 3] = isHidden ? 0 : original[at + 3];
  }
}
