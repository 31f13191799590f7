import { describe, expect, test } from "vitest";
import { Words } from "../src/words";

const words = [
  { name: "cup", vector: 0 },
  { name: "potted plant", vector: 1 },
  { name: "mug", vector: 0 },
  { name: "hiccup", vector: 2 },
];
const closed = new Words({ words, defaultNegatives: null });
const open = new Words({ words, defaultNegatives: [{ name: "object", vector: 3 }, { name: "things", vector: 4 }] });

test("completion begins with beginnings, then beginnings of a word", () => {
  expect(closed.complete("cup", 8)).toEqual(["cup", "hiccup"]);
  expect(closed.complete("Plan", 8)).toEqual(["potted plant"]);
  expect(closed.complete("", 2)).toHaveLength(2);
});

test("case, spaces and a plural do not matter", () => {
  expect(closed.recognise(" CUP ")?.name).toBe("cup");
  expect(closed.recognise("cups")?.name).toBe("cup");
  expect(closed.recognise("unicorn")).toBeUndefined();
});

describe("a query is compared with", () => {
  test("all other vectors of a closed vocabulary, not with another name of the same thing", () => {
    expect(closed.compare([words[0]], [])).toEqual({ positives: [0], negatives: [1, 2] });
  });
  test("the default negatives that it does not ask for", () => {
    expect(open.compare([{ name: "object", vector: 3 }], [words[1]])).toEqual({ positives: [3], negatives: [1, 4] });
  });
});
