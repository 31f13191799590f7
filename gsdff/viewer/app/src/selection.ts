// Sets of Gaussians, as a byte each: what a question selects, and how one set is combined with another.

import { VOID } from "./scores";
import { BEFORE, type Shown, type Side } from "./shown";

export const HOWS = ["new", "add", "subtract", "intersect"] as const;
export type How = (typeof HOWS)[number];

// Relevancy is above 0 wherever there is a feature at all.
export function isSelected(scores: Float32Array, row: number, threshold: number): boolean {
  return scores[row] > 0 && scores[row] >= threshold;
}

const isOn = (sides: Uint8Array | null, row: number, side: Side) => sides === null || (sides[row] & side) !== 0;

type Existing = Pick<Shown, "sides" | "deleted">;

// What is on a side of an edit and has not been deleted.
const isThere = ({ sides, deleted }: Existing, row: number, side: Side) =>
  isOn(sides, row, side) && !(deleted !== null && deleted[row]);

// What the question on screen selects; empty without one.
export function answerOf(shown: Pick<Shown, "scores" | "threshold"> & Existing, numGaussians: number, side: Side): Uint8Array {
  const found = new Uint8Array(numGaussians);
  const { scores, threshold } = shown;
  if (!scores) return found;
  for (let row = 0; row < numGaussians; row++) {
    if (scores[row] >= threshold && isSelected(scores, row, threshold) && isThere(shown, row, side)) found[row] = 1;
  }
  return found;
}

// What may be selected: all that is there, but for what is hidden and for locked things.
export function selectable(
  shown: Pick<Shown, "things" | "hiddenThings" | "isolatedThing" | "hidden"> & Existing,
  numGaussians: number,
  side: Side,
  locked: ReadonlySet<number>,
): Uint8Array {
  const { things, hiddenThings, isolatedThing, hidden } = shown;
  const found = new Uint8Array(numGaussians);
  const isFree = (id: number) => (isolatedThing === null ? !hiddenThings.has(id) : id === isolatedThing) && !locked.has(id);
  const isConstrained = things !== null && (hiddenThings.size > 0 || isolatedThing !== null || locked.size > 0);
  for (let row = 0; row < numGaussians; row++) {
    if (hidden?.[row] || !isThere(shown, row, side)) continue;
    if (!isConstrained || isFree(things![row])) found[row] = 1;
  }
  return found;
}

// Those that hold a number: of a thing, or of a class.
export function equalTo(values: ArrayLike<number>, number: number): Uint8Array {
  return Uint8Array.from({ length: values.length }, (_, row) => (values[row] === number ? 1 : 0));
}

// Number of Gaussians that the question selects.
export function countAnswer(shown: Pick<Shown, "scores" | "threshold"> & Existing, numGaussians: number, side: Side): number {
  const { scores, threshold, sides, deleted } = shown;
  if (!scores) return 0;
  let count = 0;
  for (let row = 0; row < numGaussians; row++) {
    const score = scores[row];
    if (score > 0 && score >= threshold && (sides === null || sides[row] & side) && !deleted?.[row]) count++;
  }
  return count;
}

export function combine(current: Uint8Array, found: Uint8Array, how: How): Uint8Array {
  if (how === "new") return found.slice();
  return current.map((is, row) => {
    if (how === "add") return is | found[row];
    return how === "intersect" ? is & found[row] : is & (1 - found[row]);
  });
}

export function countOf(mask: Uint8Array): number {
  let count = 0;
  for (let row = 0; row < mask.length; row++) count += mask[row];
  return count;
}

export function rowsIn(mask: Uint8Array): number[] {
  const rows: number[] = [];
  mask.forEach((is, row) => is && rows.push(row));
  return rows;
}

export function countAll(shown: Existing, numGaussians: number, side: Side): number {
  if (!shown.sides && !shown.deleted) return numGaussians;
  let count = 0;
  for (let row = 0; row < numGaussians; row++) if (isThere(shown, row, side)) count++;
  return count;
}

export function countLabels(labels: Uint8Array, numClasses: number, shown: Existing, side: Side = BEFORE): number[] {
  const counts = new Array<number>(numClasses).fill(0);
  labels.forEach((label, row) => {
    if (label !== VOID && isThere(shown, row, side)) counts[label]++;
  });
  return counts;
}
