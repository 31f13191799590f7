import { expect, test } from "vitest";
import { captionOf } from "../src/caption";
import type { Shown } from "../src/shown";
import { thingName } from "../src/things";

const header = {
  classes: [{ name: "cup", vector: 0, color: [0, 0, 0] }, { name: "lamp", vector: 1, color: [0, 0, 0] }],
  things: [{ id: 2, name: "chair", score: null, count: 1, size: [], color: [] }],
};
const plain = { mode: "colours", threshold: 0.5, isolated: null, hiddenClasses: new Set(), hiddenThings: new Set(), isolatedThing: null, selectedThing: null };
const nothing = { question: "", pending: "", numDeleted: 0, numSelected: 0, numHidden: 0 };
const caption = (changes: object, named = {}) => captionOf({ ...plain, ...changes } as Shown, header, { ...nothing, ...named });

test("every mode says what it shows, and of which question", () => {
  expect(caption({})).toEqual(["colours"]);
  expect(caption({ mode: "heat" }, { question: "cup" })).toEqual(["heat: relevancy of “cup” from 0.500"]);
  expect(caption({ mode: "isolate" }, { question: "cup" })[0]).toContain("only “cup”");
  expect(caption({ mode: "hide" }, { question: "cup" })[0]).toContain("without “cup”");
  expect(caption({ mode: "classes" })).toEqual(["best of 2 classes"]);
});

test("what is hidden, deleted and selected is named", () => {
  expect(caption({ mode: "classes", isolated: 1 })).toContain("only lamp");
  expect(caption({ hiddenThings: new Set([2]) })).toContain("without chair");
  expect(caption({ isolatedThing: 2 })).toContain("only chair");
  expect(caption({ selectedThing: 2 })).toContain("chair marked");
  expect(caption({}, { numDeleted: 1200, numSelected: 3 })).toEqual(["colours", "1,200 deleted", "3 selected"]);
});

test("while a question is computed the old answer keeps its name", () => {
  const parts = caption({ mode: "heat" }, { question: "cup", pending: "lamp" });
  expect(parts).toEqual(["heat: relevancy of “cup” from 0.500", "searching for “lamp” …"]);
});

test("of several things with one name each is named by its number too", () => {
  const things = [{ id: 2, name: "wall" }, { id: 7, name: "wall" }, { id: 3, name: "cup" }, { id: 4, name: null }];
  expect(things.map((thing) => thingName(thing, things))).toEqual(["wall 2", "wall 7", "cup", "thing 4"]);
});
