import { expect, test } from "vitest";
import { type Header, SceneData } from "../src/data";
import { Names } from "../src/likely";

// Two latents of three Gaussians, the last without a feature, and three vectors of 2 numbers, column by column.
function sceneOf(classes: Header["classes"]): SceneData {
  const latents = Int8Array.from([100, 0, 0, 0, 50, 0]);
  const vectors = Float32Array.from([1, 0, 0.6, 0, 1, 0.8]);
  const bytes = new Uint8Array([...new Uint8Array(latents.buffer), ...new Uint8Array(vectors.buffer)]);
  const columns = {
    latents: { start: 0, type: "int8", rows: 3, columns: 2 },
    vectors: { start: 6, type: "float32", rows: 3, columns: 2 },
  };
  const words = [{ name: "cup", vector: 0 }, { name: "lamp", vector: 2 }];
  return new SceneData({ classes, words, latentStep: 0.01, columns } as unknown as Header, bytes);
}

test("the class with the nearest vector is the likely one", () => {
  const named = [{ name: "wall", vector: 0, color: [] }, { name: "floor", vector: 1, color: [] }];
  expect(new Names(sceneOf(named)).of(0)).toEqual({ name: "wall", cosine: 1 });
  expect(new Names(sceneOf(named)).of(1)).toEqual({ name: "floor", cosine: 1 });
});

test("without classes it is a word", () => {
  const likely = new Names(sceneOf([])).of(1)!;
  expect(likely.name).toBe("lamp");
  expect(likely.cosine).toBeCloseTo(0.8);
});

test("a Gaussian without a feature has none", () => expect(new Names(sceneOf([])).of(2)).toBeNull());
