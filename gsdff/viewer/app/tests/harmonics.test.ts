import { describe, expect, test } from "vitest";
import { packBits } from "../src/data";
import { packRow } from "../src/harmonics";

// Two Gaussians with the nine numbers of the first band, column by column.
const triples = [[10, -20, 30, 1, 2, 3, 0, 0, 0], [63, 63, 63, -1, -1, -1, 5, 0, 0]];
const band = { values: Int8Array.from(triples[0].flatMap((_, c) => triples.map((row) => row[c]))), rows: 2, columns: 9 };
const layout = { bits: 7, words: 2 };

function unpack(words: Uint32Array, row: number): number[] {
  const bits = [...words.subarray(2 * row, 2 * row + 2)].map((word) => word.toString(2).padStart(32, "0")).reverse().join("");
  return Array.from({ length: 9 }, (_, c) => {
    const code = parseInt(bits.slice(bits.length - 7 * (c + 1), bits.length - 7 * c), 2);
    return code > 63 ? code - 128 : code;
  });
}

describe("the words of one Gaussian", () => {
  test("are those of all at once", () => {
    const one = new Uint32Array(4);
    for (const row of [0, 1]) packRow(one, row, band, layout, null);
    expect([...one]).toEqual([...packBits(band.values, 2, 9, { ...layout, capacity: 2 })]);
    expect([unpack(one, 0), unpack(one, 1)]).toEqual(triples);
  });
  test("with a hue are the luminance of each triple times it, and no larger than what is stored", () => {
    const words = new Uint32Array(4);
    packRow(words, 0, band, layout, [1, 1, 1]);
    const grey = Math.round(0.2126 * 10 - 0.7152 * 20 + 0.0722 * 30);
    expect(unpack(words, 0)).toEqual([grey, grey, grey, 2, 2, 2, 0, 0, 0]);
    packRow(words, 1, band, layout, [0, 1, 3]);
    expect(unpack(words, 1)).toEqual([0, 63, 63, 0, -1, -3, 0, 1, 3]);
    packRow(words, 1, band, layout, null);
    expect(unpack(words, 1)).toEqual(triples[1]);
  });
});
