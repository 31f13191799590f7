import { describe, expect, test } from "vitest";
import { VOID, classify, lengthsOf, relevancy, scoreRange, suggestThreshold } from "../src/scores";

// Gaussians (1, 0), (0, 1), (1, 1) and nothing, stored by columns.
const latents = { values: Int8Array.from([100, 0, 100, 0, 0, 100, 100, 0]), rows: 4, columns: 2, step: 0.01 };
const lengths = lengthsOf(latents);
const x = Float32Array.from([1, 0]);
const y = Float32Array.from([0, 1]);

describe("relevancy", () => {
  test("is the positives' share of the softmax at temperature 0.1", () => {
    const scores = relevancy(latents, lengths, [x], [y]);
    expect(scores[0]).toBeCloseTo(1 / (1 + Math.exp(-10)), 6);
    expect(scores[1]).toBeCloseTo(1 / (1 + Math.exp(10)), 6);
    expect(scores[2]).toBeCloseTo(0.5, 6);
  });
  test("is 0 where there is no feature", () => expect(relevancy(latents, lengths, [x], [y])[3]).toBe(0));
  test("does not depend on a latent's length", () => {
    const longer = { ...latents, step: 0.5 };
    expect(relevancy(longer, lengthsOf(longer), [x], [y])[2]).toBeCloseTo(0.5, 6);
  });
});

test("the best class wins, the first among equals, and nothing is void", () => {
  expect([...classify(latents, lengths, [x, y])]).toEqual([0, 1, 0, VOID]);
});

describe("the suggested threshold", () => {
  const all = (length: number) => new Float64Array(length).fill(1);
  test("lies midway between two groups", () => {
    const scores = Float32Array.from([0.125, 0.25, 0.75, 0.875]);
    expect(suggestThreshold(scores, all(4))).toBeCloseTo(0.5, 6);
  });
  test("of equal scores is that score", () => expect(suggestThreshold(new Float32Array(3).fill(0.5), all(3))).toBe(0.5));
  test("does not count what has no feature", () => {
    const scores = Float32Array.from([0, 0.5, 0.5]);
    expect(suggestThreshold(scores, Float64Array.from([0, 1, 1]))).toBe(0.5);
  });
});

test("the range leaves the outermost thousandth out", () => {
  const scores = Float32Array.from({ length: 2000 }, (_, i) => i);
  expect(scoreRange(scores)).toEqual([2, 1997]);
});
