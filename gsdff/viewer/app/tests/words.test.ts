import { describe, expect, test } from "vitest";
import { Words, editDistance } from "../src/words";

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

const named = (...names: string[]) => new Words({ words: names.map((name, vector) => ({ name, vector })), defaultNegatives: null });

test.each([
  ["boxes", "box"],
  ["houses", "house"],
  ["ladies", "lady"],
  ["shelves", "shelf"],
  ["scissor", "scissors"],
  ["plant", "potted plant"],
  ["plants", "potted plant"],
])("%s means %s", (text, name) => {
  const words = named("box", "house", "lady", "shelf", "scissors", "potted plant", "glass");
  expect(words.recognise(text)?.name).toBe(name);
});

test("a part of several names means none of them, and all are offered", () => {
  const words = named("red cup", "blue cup", "cupboard");
  expect(words.recognise("cup")).toBeUndefined();
  expect(words.suggest("cups").sort()).toEqual(["blue cup", "red cup"]);
  expect(words.suggest("red chair")).toEqual(["red cup"]);
});

test("a word with a wrong letter is offered, another word is not", () => {
  expect(named("teapot", "chair").suggest("teepot")).toEqual(["teapot"]);
  expect(named("potted plant", "chair").suggest("plnt")).toEqual(["potted plant"]);
  expect(named("teapot", "chair").suggest("unicorn")).toEqual([]);
  expect([editDistance("kitten", "sitting"), editDistance("", "abc"), editDistance("chiar", "chair")]).toEqual([3, 3, 1]);
});

describe("a query is compared with", () => {
  test("all other vectors of a closed vocabulary, not with another name of the same thing", () => {
    expect(closed.compare([words[0]], [])).toEqual({ positives: [0], negatives: [1, 2] });
  });
  test("the default negatives that it does not ask for", () => {
    expect(open.compare([{ name: "object", vector: 3 }], [words[1]])).toEqual({ positives: [3], negatives: [1, 4] });
  });
});

test("a text that no list knows is learned, and has no vector until the server gives one", () => {
  const unicorn = open.learn(" Unicorn ");
  expect(unicorn).toEqual({ name: "unicorn", vector: null });
  expect(open.recognise("unicorn")).toBe(unicorn);
  expect(open.unknown([unicorn], [words[0]])).toEqual([unicorn]);
  unicorn.vector = 9;
  expect(open.unknown([unicorn], [words[0]])).toEqual([]);
  expect(open.compare([unicorn], [])).toEqual({ positives: [9], negatives: [3, 4] });
});
