import { expect, test } from "vitest";
import { KEYS, actionOf } from "../src/keys";

const pressed = (key: string, held: Partial<Record<"ctrlKey" | "metaKey" | "shiftKey" | "altKey", boolean>> = {}) =>
  actionOf({ key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...held });

test("undo and redo differ by shift, with Ctrl or the Mac's Command", () => {
  expect(pressed("z", { ctrlKey: true })).toBe("undo");
  expect(pressed("Z", { ctrlKey: true, shiftKey: true })).toBe("redo");
  expect(pressed("z", { metaKey: true })).toBe("undo");
  expect(pressed("z")).toBeNull();
});

test("signs count with or without shift, letters alone without", () => {
  expect([pressed("?"), pressed("?", { shiftKey: true }), pressed("1"), pressed("8")]).toEqual(["sheet", "sheet", "mode0", "mode7"]);
  expect([pressed("f"), pressed("F", { shiftKey: true }), pressed("f", { altKey: true })]).toEqual(["frame", null, null]);
});

test("H hides as in SuperSplat, with shift all others, and U shows all", () => {
  expect([pressed("h"), pressed("H", { shiftKey: true }), pressed("u")]).toEqual(["conceal", "alone", "reveal"]);
});

test("Backspace deletes as Del does", () => expect([pressed("Delete"), pressed("Backspace")]).toEqual(["delete", "delete"]));

test("no key means two things", () => {
  const held = KEYS.map(({ key, isCtrl, isShift }) => `${key} ${!!isCtrl} ${!!isShift}`);
  expect(new Set(held).size).toBe(held.length);
});
