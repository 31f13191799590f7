import { expect, test } from "vitest";
import { unzipSync } from "three/addons/libs/fflate.module.js";
import { editArchive, editList, packSelection, selectionFile } from "../src/edit_file";
import { fileStem } from "../src/saving";
import { howOf } from "../src/tools";

const rows = Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const edit = { operation: "delete" as const, rows, count: 2 };

test("bits begin with the highest of the first byte", () => {
  expect([...packSelection(rows, 10)]).toEqual([128, 64]);
  expect([...packSelection(rows, 8)]).toEqual([128]);
});

test("a selection's file has its header's length, the header, and the bits", () => {
  const file = selectionFile(rows, 10, "a test");
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  expect(length % 8).toBe(0);
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  expect(header.bits).toEqual({ dtype: "U8", shape: [2], data_offsets: [0, 2] });
  expect(header.__metadata__.count).toBe("10");
  expect([...file.subarray(8 + length)]).toEqual([128, 64]);
});

test("a title cannot end the comment that holds it", () => {
  const lines = editList([edit], "a\n[[edit]]\rb").split("\n");
  expect(lines.filter((line) => line.startsWith("[[edit]]"))).toHaveLength(1);
  expect(lines[0]).toContain("a [[edit]] b");
});

test("the archive has the list and a selection for each edit", () => {
  const files = unzipSync(editArchive([edit, { ...edit, operation: "recolor", color: [1, 0, 0] }], 10, "demo"));
  expect(Object.keys(files)).toEqual(["edits.toml", "edits_1.safetensors", "edits_2.safetensors"]);
  expect(new TextDecoder().decode(files["edits.toml"])).toContain('color = "#ff0000"');
});

test("a file's name has no signs that a system refuses", () => {
  expect(["my run/1", "../../x", "Straße", "<!-- -->"].map(fileStem)).toEqual(["my_run_1", "x", "Straße", "--_--"]);
  expect(fileStem("???")).toBe("scene");
});

test("held keys say how a region joins", () => {
  const held = (keys: object) => howOf({ shiftKey: false, ctrlKey: false, metaKey: false, ...keys });
  expect([held({}), held({ shiftKey: true }), held({ ctrlKey: true }), held({ shiftKey: true, metaKey: true })]).toEqual([
    null, "add", "subtract", "intersect",
  ]);
});
