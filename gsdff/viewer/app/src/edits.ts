// What is selected, hidden, deleted, recoloured and moved by hand, step by step: every step can be undone.

import { LUMINANCE } from "./paint";
import { type How, combine, countOf } from "./selection";
import type { Moved } from "./placing";
import type { Shown } from "./shown";
import { type Transform, isStill, merge } from "./transform";

// Bytes of steps that are remembered; the oldest are forgotten first.
const MOST_BYTES = 128 * 2 ** 20;
const MOST_TINTS = 65_535;
const DARKEST = 1 / 255;
const NAMES = { move: "move", rotate: "turn", scale: "scale" };

// Words that select the same in another training of the scene.
export type ByText = { positives: string[]; negatives: string[]; threshold: number; rim: boolean };

export type Edit = {
  operation: "delete" | "recolor" | Transform["operation"];
  rows: Uint8Array;
  count: number;
  // Of a recolouring: the colour asked for.
  color?: number[];
  // Of a move, a turn or a scaling, in the working frame.
  transform?: Transform;
  // Of a deletion of what words select.
  text?: ByText;
};

type State = {
  // What has led here, for "undo …".
  name: string;
  selected: Uint8Array;
  numSelected: number;
  // The words that select it; null if nothing less than the rows does.
  text: ByText | null;
  // What is not drawn, and not selected either, but is there: no edit.
  hidden: Uint8Array;
  numHidden: number;
  deleted: Uint8Array;
  tinted: Uint16Array;
  tints: number[][];
  moves: readonly Moved[];
  edits: readonly Edit[];
};

// A colour of luminance 1 with a target's hue, or paler where a selection of this mean colour has no room for it.
export function hueFor(mean: number[], target: number[]): number[] {
  const luminanceOf = (color: number[]) => color.reduce((sum, value, i) => sum + LUMINANCE[i] * value, 0);
  const chroma = target.map((value) => value / luminanceOf(target) - 1);
  const room = 1 / luminanceOf(mean.map((value) => Math.max(value, DARKEST))) - 1;
  const share = Math.min(Math.max(room / Math.max(...chroma, 1e-9), 0), 1);
  return chroma.map((value) => 1 + share * value);
}

// What is hidden, with more of it.
function hide(hidden: Uint8Array, more: Uint8Array): Pick<State, "hidden" | "numHidden"> {
  const both = hidden.map((is, row) => is | more[row]);
  return { hidden: both, numHidden: countOf(both) };
}

function firstState(numGaussians: number): State {
  const nothing = new Uint8Array(numGaussians);
  return {
    name: "",
    selected: nothing,
    numSelected: 0,
    text: null,
    hidden: nothing,
    numHidden: 0,
    deleted: nothing,
    tinted: new Uint16Array(numGaussians),
    tints: [],
    moves: [],
    edits: [],
  };
}

export class Editor {
  private readonly states: State[];
  private at = 0;

  // Whether edits have to wait; selecting does not.
  isFrozen = false;

  constructor(
    private numGaussians: number,
    private readonly shown: Shown,
    // Mean colour of Gaussians, weighted by opacity.
    private readonly meanColor: (rows: Uint8Array) => number[],
    private readonly changed: () => void,
  ) {
    this.states = [firstState(numGaussians)];
  }

  // Begins anew with other Gaussians.
  restart(numGaussians: number): void {
    this.numGaussians = numGaussians;
    this.states.splice(0, Infinity, firstState(numGaussians));
    this.go(0);
  }

  private get state(): State {
    return this.states[this.at];
  }

  get selected(): Uint8Array {
    return this.state.selected;
  }

  get numSelected(): number {
    return this.state.numSelected;
  }

  get numHidden(): number {
    return this.state.numHidden;
  }

  // Whether something is selected or hidden, which other Gaussians would not be.
  get isHolding(): boolean {
    return this.numSelected > 0 || this.numHidden > 0;
  }

  get edits(): readonly Edit[] {
    return this.state.edits;
  }

  get numDeleted(): number {
    return this.state.edits.reduce((sum, edit) => sum + (edit.operation === "delete" ? edit.count : 0), 0);
  }

  // Names of the steps that undo and redo would make; null for none.
  get undoable(): string | null {
    return this.at > 0 ? this.state.name : null;
  }

  get redoable(): string | null {
    return this.states[this.at + 1]?.name ?? null;
  }

  undo(): void {
    this.go(this.at - 1);
  }

  redo(): void {
    this.go(this.at + 1);
  }

  // With the words that select all that is found, if words do.
  select(found: Uint8Array, how: How, name: string, text: ByText | null = null): void {
    const selected = combine(this.selected, found, how);
    if (selected.every((is, row) => is === this.selected[row])) return;
    const isAlone = how === "new" || (how === "add" && !this.numSelected);
    this.push({ name, selected, numSelected: countOf(selected), text: isAlone ? text : null });
  }

  // Selects what is not selected, of those that may be.
  invert(selectable: Uint8Array): void {
    this.select(selectable.map((is, row) => is & (1 - this.selected[row])), "new", "invert");
  }

  // Draws what is selected no more, until all is shown again.
  hide(): void {
    const { selected, numSelected, hidden } = this.state;
    if (!numSelected) return;
    const nothing = { selected: new Uint8Array(this.numGaussians), numSelected: 0, text: null };
    this.push({ name: `hide ${numSelected}`, ...nothing, ...hide(hidden, selected) });
  }

  // Draws what is selected alone, of those that may be.
  isolate(selectable: Uint8Array): void {
    const { selected, numSelected, hidden } = this.state;
    if (!numSelected) return;
    const others = hide(hidden, selectable.map((is, row) => is & (1 - selected[row])));
    if (others.numHidden > this.numHidden) this.push({ name: `show ${numSelected} alone`, ...others });
  }

  showAll(): void {
    if (this.numHidden) this.push({ name: "show all", hidden: new Uint8Array(this.numGaussians), numHidden: 0 });
  }

  // Deletes Gaussians, those that are selected unless others are named, and no others; returns their number.
  delete(rows = this.selected): number {
    const { selected, text, hidden, deleted, edits } = this.state;
    const count = countOf(rows);
    if (!count) return 0;
    const [left, stillHidden] = [selected, hidden].map((mask) => mask.map((is, row) => is & (1 - rows[row])));
    this.push({
      name: `delete ${count}`,
      selected: left,
      numSelected: countOf(left),
      text: null,
      hidden: stillHidden,
      numHidden: countOf(stillHidden),
      deleted: deleted.map((is, row) => is | rows[row]),
      edits: [...edits, { operation: "delete", rows, count, ...(text && rows === selected && { text }) }],
    });
    return count;
  }

  // Gives Gaussians another hue and keeps their luminance, as `gsdff edit --recolor` does.
  recolor(color: number[], rows = this.selected): void {
    const { tinted, tints, edits } = this.state;
    const count = countOf(rows);
    if (!count || tints.length === MOST_TINTS) return;
    const number = tints.length + 1;
    this.push({
      name: `recolour ${count}`,
      tinted: tinted.map((tint, row) => (rows[row] ? number : tint)),
      tints: [...tints, hueFor(this.meanColor(rows), color)],
      edits: [...edits, { operation: "recolor", rows, count, color }],
    });
  }

  // Shows the selection moved, as long as a handle is held; null shows it where it is.
  preview(transform: Transform | null): void {
    if (this.isFrozen) return;
    this.shown.moving = transform && { rows: this.selected, transform };
    this.changed();
  }

  // Moves, turns or scales the selection; one edit for a row of drags of the same handle.
  transform(transform: Transform): void {
    this.shown.moving = null;
    const { edits, moves, selected, numSelected: count } = this.state;
    if (!count || this.isFrozen || isStill(transform)) return this.changed();
    const last = edits[edits.length - 1];
    const merged = last?.transform && last.rows === selected ? merge(last.transform, transform) : null;
    const edit = { operation: transform.operation, rows: selected, count, transform: merged ?? transform };
    this.push({
      name: `${NAMES[transform.operation]} ${count}`,
      moves: [...(merged ? moves.slice(0, -1) : moves), edit],
      edits: [...(merged ? edits.slice(0, -1) : edits), edit],
    });
  }

  private push(change: Partial<State> & { name: string }): void {
    if (this.isFrozen && change.edits) return;
    this.states.splice(this.at + 1, Infinity, { ...this.state, ...change });
    while (this.states.length > 2 && this.bytes() > MOST_BYTES) this.states.splice(0, 1);
    this.go(this.states.length - 1);
  }

  // Arrays are shared between steps that do not change them.
  private bytes(): number {
    const arrays = new Set(this.states.flatMap(({ selected, hidden, deleted, tinted }) => [selected, hidden, deleted, tinted]));
    return [...arrays].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  private go(to: number): void {
    if (!this.states[to]) return;
    this.at = to;
    const { selected, numSelected, hidden, numHidden, deleted, tinted, tints, moves, edits } = this.state;
    this.shown.moves = moves;
    this.shown.moving = null;
    this.shown.selected = numSelected ? selected : null;
    this.shown.hidden = numHidden ? hidden : null;
    this.shown.deleted = edits.some((edit) => edit.operation === "delete") ? deleted : null;
    this.shown.tinted = tints.length ? tinted : null;
    this.shown.tints = tints;
    this.changed();
  }
}
