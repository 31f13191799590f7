// What is on screen, as the server is told it.

import { type PerspectiveCamera, Quaternion } from "three";
import { mapColor } from "./colormaps";
import type { Page } from "./page";
import type { Mode } from "./shown";
import { type HandEdit, type Scenery, type View, bitsOf, packRows } from "./wire";

// Colours of scores that the server mixes others between.
const COLORS = 9;

// Modes of the server that draw what the page's own do.
export const SAME: Partial<Record<Mode, string>> = {
  colours: "colour",
  isolate: "colour",
  hide: "colour",
  heat: "relevancy",
  classes: "classes",
  things: "things",
};

// Name of a server's mode in the page: the page's own, where that draws the same.
export function nameOf(mode: string, shown?: Mode): string {
  if (shown && SAME[shown] === mode) return shown;
  return Object.entries(SAME).find(([, other]) => other === mode)?.[0] ?? mode;
}

// The camera as gsdff has it: OpenCV axes, focal lengths and principal point from the projection.
export function viewOf(camera: PerspectiveCamera, width: number, height: number): View {
  camera.updateMatrixWorld();
  const { x, y, z, w } = new Quaternion()
    .setFromRotationMatrix(camera.matrixWorld)
    .multiply(new Quaternion(1, 0, 0, 0));
  const projection = camera.projectionMatrix.elements;
  return {
    position: camera.position.toArray(),
    wxyz: [w, x, y, z],
    focal: [projection[0] / 2, projection[5] / 2],
    centre: [(1 - projection[8]) / 2, (1 + projection[9]) / 2],
    width,
    height,
  };
}

// What is on screen, as the server draws it in a mode of its own, or in the page's; null for what it cannot draw.
export function sceneryOf({ data, picture, shown, answers, editor }: Page, own: string | null): Scenery | null {
  const { header } = data;
  const { asked, like } = answers;
  // a question without an answer yet shows colours
  const mode = own ?? (shown.mode === "heat" && !shown.scores ? "colour" : SAME[shown.mode]);
  // what is being moved is not where it will be
  if (!mode || header.comparison || shown.moving) return null;
  const scenery: Scenery = { mode, version: header.server!.version };
  if (mode === "relevancy" && (asked || like)) {
    const words = [asked?.positives ?? [], asked?.negatives ?? []];
    const [positives, negatives] = words.map((list) => list.map((word) => word.name));
    const colors = Array.from({ length: COLORS }, (_, i) => mapColor(shown.colorMap, i / (COLORS - 1)));
    scenery.question = { positives, negatives, threshold: shown.threshold, score_range: shown.range, colors };
    if (like) scenery.question.like = like;
  }
  if (mode === "classes") {
    scenery.classes = header.classes.map((row) => row.name);
    scenery.class_colors = shown.classColors;
  }
  picture.camera.updateMatrixWorld();
  scenery.hidden = bitsOf(header.numGaussians, (row) => picture.isHidden(row) || picture.isClipped(row));
  const { things, selectedThing, selected } = shown;
  if (selected || (things && selectedThing !== null)) {
    const isMarked = (row: number) => selected?.[row] === 1 || (selectedThing !== null && things?.[row] === selectedThing);
    scenery.marked = bitsOf(header.numGaussians, isMarked);
  }
  // what is deleted is hidden already
  scenery.edits = handEdits(editor.edits.filter((edit) => edit.operation !== "delete"));
  return scenery;
}

export const handEdits = (edits: Page["editor"]["edits"]): HandEdit[] =>
  edits.map(({ operation, rows, color, transform, text }) => {
    const packed = packRows(rows);
    return transform ? { ...transform, rows: packed } : { operation, rows: packed, color, text };
  });
