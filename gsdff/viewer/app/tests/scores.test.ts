import { describe, expect, test } from "vitest";
import { Similarities, VOID, classify, exponential, relevancy, scoreRange, suggestThreshold } from "../src/scores";

// Gaussians (1, 0), (0, 1), (1, 1) and nothing, stored by columns.
const latents = { values: Int8Array.from([100, 0, 100, 0, 0, 100, 100, 0]), rows: 4, columns: 2, step: 0.01 };
const vectors = [[1, 0], [0, 1], [0.6, 0.8]].map((values) => Float32Array.from(values));
const similarities = new Similarities(latents, vectors);

describe("relevancy", () => {
  test("is the positives' share of the softmax at temperature 0.1", () => {
    const scores = relevancy(similarities, [0], [1]);
    expect(scores[0]).toBeCloseTo(1 / (1 + Math.exp(-10)), 6);
    expect(scores[1]).toBeCloseTo(1 / (1 + Math.exp(10)), 6);
    expect(scores[2]).toBeCloseTo(0.5, 6);
  });
  test("is 0 where there is no feature", () => expect(relevancy(similarities, [0], [1])[3]).toBe(0));
  test("does not depend on a latent's length", () => {
    const longer = new Similarities({ ...latents, step: 0.5 }, vectors);
    expect(relevancy(longer, [0], [1])[2]).toBeCloseTo(0.5, 6);
  });
  test("with most vectors on one side is the same as one vector after another", () => {
    const cosine = (row: number[], i: number) => (row[0] * vectors[i][0] + row[1] * vectors[i][1]) / Math.hypot(...row);
    const weight = (row: number[], i: number) => Math.exp(10 * cosine(row, i));
    const scores = relevancy(similarities, [2], [0, 1]);
    [[1, 0], [0, 1], [1, 1]].forEach((row, i) => {
      const all = [0, 1, 2].reduce((sum, id) => sum + weight(row, id), 0);
      expect(scores[i]).toBeCloseTo(weight(row, 2) / all, 6);
    });
  });
});

test("more Gaussians than are computed at a time, and more words than are remembered, change nothing", () => {
  const rows = 5000;
  const values = Int8Array.from({ length: 2 * rows }, (_, i) => (i < rows ? i % 100 : 50));
  const many = Array.from({ length: 30 }, (_, i) => Float32Array.from([Math.cos(i), Math.sin(i)]));
  const large = new Similarities({ values, rows, columns: 2, step: 0.01 }, many);
  const ids = many.map((_, i) => i);
  const scores = relevancy(large, [3], ids.filter((id) => id !== 3));
  const again = relevancy(large, [3], ids.filter((id) => id !== 3));
  expect(again).toEqual(scores);
  const row = 4999;
  const unit = [values[row], 50].map((value) => value / Math.hypot(values[row], 50));
  const weights = many.map(([a, b]) => Math.exp(10 * (a * unit[0] + b * unit[1])));
  expect(scores[row]).toBeCloseTo(weights[3] / weights.reduce((sum, value) => sum + value), 6);
  expect(classify(large, ids)[row]).toBe(weights.indexOf(Math.max(...weights)));
});

test("the best class wins, the first among equals, and nothing is void", () => {
  expect([...classify(similarities, [0, 1])]).toEqual([0, 1, 0, VOID]);
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

test("the range leaves the outermost thousandth out, to a step of its own", () => {
  const scores = Float32Array.from({ length: 2000 }, (_, i) => i);
  const [low, high] = scoreRange(scores);
  expect(low).toBeGreaterThan(1);
  expect(low).toBeLessThanOrEqual(2);
  expect(high).toBeGreaterThanOrEqual(1997);
  expect(high).toBeLessThan(1998);
  expect(scoreRange(new Float32Array(3).fill(0.5))).toEqual([0.5, 0.5]);
});

test("a vector that is added is one more, also among most of them", () => {
  const fewer = new Similarities(latents, vectors.slice(0, 2));
  fewer.sum([0, 1]);
  fewer.add(vectors.slice(2));
  expect([...relevancy(fewer, [2], [0, 1])]).toEqual([...relevancy(similarities, [2], [0, 1])]);
});

test("the fast exponential is right to a billionth, and exact where it has no table", () => {
  for (let x = -12; x <= 12; x += 0.0137) expect(Math.abs(exponential(x) / Math.exp(x) - 1)).toBeLessThan(1e-9);
  expect(exponential(50)).toBe(Math.exp(50));
});

test("what is on both sides of a question counts on both", () => {
  const scores = relevancy(similarities, [0], [0, 1]);
  expect(scores[0]).toBeCloseTo(Math.exp(10) / (2 * Math.exp(10) + 1), 6);
});

test("what one has computed another takes over, and answers the same to the bit", () => {
  const many = Array.from({ length: 30 }, (_, i) => Float32Array.from([Math.cos(i), Math.sin(i)]));
  const [one, other, apart] = [many, many, many].map((all) => new Similarities(latents, [...all]));
  const ids = many.map((_, i) => i);
  const others = ids.filter((id) => id !== 3);
  relevancy(one, [3], others);
  expect(other.numMissing([5], ids.filter((id) => id !== 5))).toBe(30);
  other.take(one.share([3]));
  expect([3, 5].map((word) => other.numMissing([word], ids.filter((id) => id !== word)))).toEqual([0, 1]);
  expect(relevancy(other, [5], ids.filter((id) => id !== 5))).toEqual(relevancy(apart, [5], ids.filter((id) => id !== 5)));
});

test("of a few negatives only those that nobody has computed are missing", () => {
  const many = Array.from({ length: 30 }, (_, i) => Float32Array.from([Math.cos(i), Math.sin(i)]));
  const [one, other] = [new Similarities(latents, many), new Similarities(latents, many)];
  relevancy(one, [9], [1, 2]);
  expect(one.numMissing([8], [1, 2])).toBe(1);
  other.take(one.share([9, 1, 2]));
  expect([other.numMissing([8], [1, 2]), other.numMissing([9], [1, 4])]).toEqual([1, 1]);
  expect(relevancy(other, [9], [1, 2])).toEqual(relevancy(one, [9], [1, 2]));
});
