import { expect, test } from "vitest";
import { unzipSync } from "three/addons/libs/fflate.module.js";
import { editArchive, editList, packSelection, selectionFile } from "../src/edit_file";
import { fileStem } from "../src/saving";
import { howOf } from "../src/tools";

const rows = Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const frame = { centre: [10, 0, 0], scale: 2 };
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
  const lines = editList([edit], "a\n[[edit]]\rb", frame).split("\n");
  expect(lines.filter((line) => line.startsWith("[[edit]]"))).toHaveLength(1);
  expect(lines[0]).toContain("a [[edit]] b");
});

test("the archive has the list and a selection for each edit", () => {
  const files = unzipSync(editArchive([edit, { ...edit, operation: "recolor", color: [1, 0, 0] }], 10, { title: "demo", frame, file: null }));
  expect(Object.keys(files)).toEqual(["edits.toml", "edits_1.safetensors", "edits_2.safetensors"]);
  expect(new TextDecoder().decode(files["edits.toml"])).toContain('color = "#ff0000"');
});

test("a deletion by text is its words, without a selection that another training would not have", () => {
  const text = { positives: ["cup", 'a "mug"\\'], negatives: ["lamp"], threshold: 0.25, rim: true };
  const files = unzipSync(editArchive([{ ...edit, text }, edit], 10, { title: "demo", frame, file: null }));
  expect(Object.keys(files)).toEqual(["edits.toml", "edits_2.safetensors"]);
  const list = editList([{ ...edit, text }, { ...edit, text: { ...text, negatives: [], threshold: 1, rim: false } }], "demo", frame);
  expect(list).toContain('positives = ["cup", "a \\"mug\\"\\\\"]\nnegatives = ["lamp"]\nthreshold = 0.25\n\n');
  expect(list).toContain("threshold = 1.0\nrim = false\n");
  expect(list).not.toContain("selection");
});

test("what the handles did is written in the world of the photos' poses", () => {
  const centre = [1, 2, 3];
  const list = editList(
    [
      { ...edit, operation: "move", transform: { operation: "move", translation: [0.5, 0, -1] } },
      { ...edit, operation: "rotate", transform: { operation: "rotate", axis: [0, 1, 0], degrees: 30, centre } },
      { ...edit, operation: "scale", transform: { operation: "scale", factor: 1.5, centre } },
    ],
    "demo",
    frame,
  );
  expect(list).toContain('operation = "move"\nselection = "edits_1.safetensors"  # 2 Gaussians\ntranslation = [1, 0, -2]\n');
  expect(list).toContain("axis = [0, 1, 0]\ndegrees = 30\ncentre = [12, 4, 6]\n");
  expect(list).toContain("factor = 1.5\ncentre = [12, 4, 6]\n");
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
