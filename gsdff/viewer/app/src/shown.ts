// What the picture shows of the scene, as all parts of the page know it.

import type { SceneData } from "./data";
import type { Moved } from "./placing";

export const MODES = ["colours", "heat", "isolate", "hide", "classes", "things"] as const;
export type Mode = (typeof MODES)[number];

// Modes that show the answer to a question.
export const isAnswerMode = (mode: Mode) => mode === "heat" || mode === "isolate" || mode === "hide";

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
  colorMap: string;
  labels: Uint8Array | null;
  classColors: number[][];
  // Class that is drawn alone; null draws all but the hidden ones.
  isolated: number | null;
  hiddenClasses: Set<number>;
  // Thing of every Gaussian, 0 for none; colours by the number of the thing.
  things: ThingIds | null;
  thingColors: number[][];
  hiddenThings: Set<number>;
  // Thing that is drawn alone, and the one that is marked.
  isolatedThing: number | null;
  selectedThing: number | null;
  // Sides on which every Gaussian is; null without an edit.
  sides: Uint8Array | null;
  // What is selected (1), hidden (1) and deleted (1) by hand, and the tint of every Gaussian by its number, 0 for none.
  selected: Uint8Array | null;
  hidden: Uint8Array | null;
  deleted: Uint8Array | null;
  tinted: Uint16Array | null;
  tints: number[][];
  // What has been moved by hand, in order, and what is just being moved.
  moves: readonly Moved[];
  moving: Moved | null;
};

// Colour of what is in no thing.
const NO_THING = [0.3, 0.3, 0.3];

export function firstShown(data: SceneData): Shown {
  const { header } = data;
  const thingColors = [NO_THING];
  for (const thing of header.things) thingColors[thing.id] = thing.color;
  return {
    mode: "colours",
    scores: null,
    threshold: 0,
    range: [0, 1],
    colorMap: "viridis",
    labels: null,
    classColors: header.classes.map((row) => row.color),
    isolated: null,
    hiddenClasses: new Set(),
    things: (data.column("things")?.values as ThingIds | undefined) ?? null,
    thingColors: Array.from(thingColors, (color) => color ?? NO_THING),
    hiddenThings: new Set(),
    isolatedThing: null,
    selectedThing: null,
    sides: (data.column("sides")?.values as Uint8Array | undefined) ?? null,
    selected: null,
    hidden: null,
    deleted: null,
    tinted: null,
    tints: [],
    moves: [],
    moving: null,
  };
}
