import { beforeEach, describe, expect, test } from "vitest";
import { Editor, hueFor } from "../src/edits";
import { LUMINANCE } from "../src/paint";
import { countOf, rowsIn } from "../src/selection";
import type { Shown } from "../src/shown";

const mask = (...rows: number[]) => Uint8Array.from({ length: 5 }, (_, row) => (rows.includes(row) ? 1 : 0));

let shown: Shown;
let editor: Editor;
beforeEach(() => {
  shown = {} as Shown;
  editor = new Editor(5, shown, () => [0.5, 0.5, 0.5], () => undefined);
});

test("a selection is undone and made again", () => {
  editor.select(mask(1, 2), "new", "box");
  editor.select(mask(2, 3), "intersect", "lasso");
  expect(rowsIn(editor.selected)).toEqual([2]);
  editor.undo();
  expect(rowsIn(editor.selected)).toEqual([1, 2]);
  expect([editor.undoable, editor.redoable]).toEqual(["box", "lasso"]);
  editor.redo();
  expect(rowsIn(shown.selected!)).toEqual([2]);
});

test("as many are deleted as were counted, and all come back", () => {
  editor.select(mask(0, 4), "new", "box");
  const { numSelected } = editor;
  expect(editor.delete()).toBe(numSelected);
  expect(rowsIn(shown.deleted!)).toEqual([0, 4]);
  expect([editor.numSelected, editor.numDeleted]).toEqual([0, 2]);
  editor.undo();
  expect([editor.numSelected, editor.numDeleted, shown.deleted]).toEqual([2, 0, null]);
});

const text = { positives: ["cup"], negatives: [], threshold: 0.5, rim: true };

test("what words select is deleted by these words", () => {
  editor.select(mask(0, 1), "new", "select cup", text);
  editor.delete();
  editor.select(mask(2), "add", "select cup", text);
  editor.delete();
  expect(editor.edits.map((edit) => edit.text)).toEqual([text, text]);
});

test("what words select is deleted by its Gaussians if anything else has changed the selection, or is deleted", () => {
  editor.select(mask(0, 1), "new", "select cup", text);
  editor.select(mask(1), "subtract", "brush");
  editor.delete();
  editor.select(mask(2), "new", "brush");
  editor.select(mask(3), "add", "select cup", text);
  editor.delete();
  editor.select(mask(1), "new", "select cup", text);
  editor.delete(mask(1, 4));
  expect(editor.edits.map((edit) => "text" in edit)).toEqual([false, false, false]);
});

test("words are undone with the selection that they made", () => {
  editor.select(mask(0, 1), "new", "select cup", text);
  editor.select(mask(1), "subtract", "brush");
  editor.undo();
  editor.delete();
  expect(editor.edits[0].text).toEqual(text);
});

test("more recolourings than a byte counts are all shown", () => {
  for (let i = 0; i < 300; i++) editor.recolor([i % 2, 1, 0], mask(i % 5));
  expect([editor.edits.length, shown.tints.length, Math.max(...shown.tinted!)]).toEqual([300, 300, 300]);
});

test("hiding, showing alone and showing all are steps but no edits", () => {
  editor.select(mask(0, 1), "new", "box");
  editor.hide();
  expect([rowsIn(shown.hidden!), editor.numHidden, editor.numSelected]).toEqual([[0, 1], 2, 0]);
  editor.select(mask(2), "new", "box");
  editor.isolate(mask(2, 3, 4));
  expect([rowsIn(shown.hidden!), rowsIn(shown.selected!)]).toEqual([[0, 1, 3, 4], [2]]);
  editor.undo();
  expect(rowsIn(shown.hidden!)).toEqual([0, 1]);
  editor.showAll();
  expect([shown.hidden, editor.undoable, editor.edits]).toEqual([null, "show all", []]);
});

test("with nothing selected, or nothing beside it, nothing is hidden", () => {
  editor.hide();
  editor.isolate(mask(0, 1));
  editor.select(mask(0, 1), "new", "box");
  editor.isolate(mask(0, 1));
  expect([editor.numHidden, editor.undoable]).toEqual([0, "box"]);
});

test("what is deleted is no longer counted as hidden, until it is back", () => {
  editor.select(mask(0, 1), "new", "box");
  editor.hide();
  editor.delete(mask(1, 2));
  expect([editor.numHidden, editor.numDeleted]).toEqual([1, 2]);
  editor.undo();
  expect(editor.numHidden).toBe(2);
});

test("while edits wait, hiding does not", () => {
  editor.select(mask(0), "new", "box");
  editor.isFrozen = true;
  editor.hide();
  expect([editor.numHidden, editor.isHolding]).toEqual([1, true]);
});

test("a new step forgets what was undone, and a selection of the same is no step", () => {
  editor.select(mask(0), "new", "first");
  editor.undo();
  editor.select(mask(1), "new", "second");
  expect(editor.redoable).toBeNull();
  editor.select(mask(1), "new", "third");
  expect(editor.undoable).toBe("second");
});

test("nothing selected deletes and recolours nothing", () => {
  expect(editor.delete()).toBe(0);
  editor.recolor([1, 0, 0]);
  expect(editor.undoable).toBeNull();
});

test("inverting leaves out what may not be selected", () => {
  editor.select(mask(0), "new", "box");
  editor.invert(mask(0, 1, 2));
  expect(rowsIn(editor.selected)).toEqual([1, 2]);
});

test("the last recolouring counts, and each is an edit of its own", () => {
  editor.recolor([1, 0, 0], mask(0, 1));
  editor.recolor([0, 0, 1], mask(1));
  expect([...shown.tinted!]).toEqual([1, 2, 0, 0, 0]);
  expect(editor.edits.map(({ count, color }) => [count, color])).toEqual([[2, [1, 0, 0]], [1, [0, 0, 1]]]);
});

test("a move is shown while a handle is held, made when it is let go, and undone", () => {
  editor.select(mask(0, 1), "new", "box");
  editor.preview({ operation: "move", translation: [1, 0, 0] });
  expect([shown.moving?.transform, shown.moves, editor.undoable]).toEqual([{ operation: "move", translation: [1, 0, 0] }, [], "box"]);
  editor.transform({ operation: "move", translation: [2, 0, 0] });
  expect([shown.moving, shown.moves.length, editor.undoable]).toEqual([null, 1, "move 2"]);
  editor.undo();
  expect([shown.moves, editor.edits]).toEqual([[], []]);
});

test("drags of one handle in a row are one edit but as many steps, and a drag that ends where it began is none", () => {
  editor.select(mask(0, 1), "new", "box");
  editor.transform({ operation: "move", translation: [1, 0, 0] });
  editor.transform({ operation: "move", translation: [0, 2, 0] });
  expect(editor.edits.map((edit) => edit.transform)).toEqual([{ operation: "move", translation: [1, 2, 0] }]);
  editor.transform({ operation: "move", translation: [0, 0, 0] });
  editor.undo();
  expect(editor.edits.map((edit) => edit.transform)).toEqual([{ operation: "move", translation: [1, 0, 0] }]);
  editor.select(mask(0), "new", "box");
  editor.transform({ operation: "move", translation: [0, 0, 1] });
  expect(shown.moves.map(({ rows }) => countOf(rows))).toEqual([2, 1]);
});

describe("the hue of a recolouring", () => {
  const luminance = (color: number[]) => color.reduce((sum, value, i) => sum + LUMINANCE[i] * value, 0);
  test("has a luminance of one, and is paler where there is no room for it", () => {
    const [dark, light] = [0.1, 0.9].map((level) => hueFor([level, level, level], [0, 0, 1]));
    for (const hue of [dark, light]) expect(luminance(hue)).toBeCloseTo(1);
    expect(dark[2]).toBeGreaterThan(light[2]);
    expect(0.9 * light[2]).toBeLessThanOrEqual(1 + 1e-9);
  });
});
