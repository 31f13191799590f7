import { describe, expect, test } from "vitest";
import { VOID } from "../src/scores";
import { answerOf, combine, countLabels, equalTo, rowsIn, selectable } from "../src/selection";
import { AFTER, BEFORE } from "../src/shown";

const bytes = (...values: number[]) => Uint8Array.from(values);
const all = { sides: null, deleted: null };

describe("the answer", () => {
  const answer = (scores: number[], threshold: number, there = {}, side: 1 | 2 = BEFORE) =>
    rowsIn(answerOf({ ...all, scores: Float32Array.from(scores), threshold, ...there }, scores.length, side));
  test("is what reaches the threshold, and what has no feature never", () => {
    expect(answer([0.5, 0.4, 0], 0.5)).toEqual([0]);
    expect(answer([0.5, 0], 0)).toEqual([0]);
  });
  test("is of the side that is shown", () => {
    expect(answer([0.9, 0.8, 0.1], 0.5, { sides: bytes(BEFORE, AFTER, AFTER) }, AFTER)).toEqual([1]);
  });
  test("has nothing that is deleted, so its count is what is left", () => {
    expect(answer([0.9, 0.8], 0.5, { deleted: bytes(1, 0) })).toEqual([1]);
  });
  test("is empty without a question", () => {
    expect(rowsIn(answerOf({ ...all, scores: null, threshold: 0 }, 2, BEFORE))).toEqual([]);
  });
});

describe("what may be selected", () => {
  const things = { ...all, things: bytes(1, 2, 0, 1), hiddenThings: new Set<number>(), isolatedThing: null, hidden: null };
  const may = (changes: object, locked: number[] = []) => rowsIn(selectable({ ...things, ...changes }, 4, BEFORE, new Set(locked)));
  test("is all, without hidden, locked and deleted things", () => {
    expect(may({})).toEqual([0, 1, 2, 3]);
    expect(may({ hiddenThings: new Set([1]) })).toEqual([1, 2]);
    expect(may({}, [2])).toEqual([0, 2, 3]);
    expect(may({ deleted: bytes(1, 0, 0, 0) })).toEqual([1, 2, 3]);
    expect(may({ hidden: bytes(0, 0, 1, 1) })).toEqual([0, 1]);
  });
  test("is the isolated thing alone", () => expect(may({ isolatedThing: 1 })).toEqual([0, 3]));
});

test.each([
  ["new", [0, 1, 1, 0]],
  ["add", [1, 1, 1, 0]],
  ["subtract", [1, 0, 0, 0]],
  ["intersect", [0, 1, 0, 0]],
] as const)("sets are combined: %s", (how, expected) => {
  expect([...combine(bytes(1, 1, 0, 0), bytes(0, 1, 1, 0), how)]).toEqual(expected);
});

test("labels are counted without void, and without what is deleted or on the other side", () => {
  expect(countLabels(bytes(1, 1, VOID), 2, all)).toEqual([0, 2]);
  expect(countLabels(bytes(0, 0, 0), 1, { sides: bytes(BEFORE, AFTER, AFTER), deleted: null })).toEqual([1]);
  expect(countLabels(bytes(0, 0), 1, { sides: null, deleted: bytes(0, 1) })).toEqual([1]);
});

test("a thing's Gaussians are those with its number", () => expect(rowsIn(equalTo(bytes(1, 2, 1), 1))).toEqual([0, 2]));
