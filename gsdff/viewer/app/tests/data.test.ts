import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { fovFor } from "../src/camera";
import { SceneData, inflate, packBits, rowsOf } from "../src/data";

test("columns come back from deflated base64", async () => {
  const packed = deflateSync(Uint8Array.from([1, 2, 3])).toString("base64");
  expect([...(await inflate(packed, 3))]).toEqual([1, 2, 3]);
  await expect(inflate(packed, 4)).rejects.toThrow("3 bytes of 4");
});

test("what is longer than a part that is decoded at a time comes back too", async () => {
  const bytes = Uint8Array.from({ length: 5_000_000 }, (_, i) => (i * i * 31) >> 7);
  const found = await inflate(deflateSync(bytes, { level: 0 }).toString("base64"), bytes.length);
  expect(Buffer.compare(found, bytes)).toBe(0);
});

test("a column has its own type, wherever it begins", () => {
  const numbers = new Uint8Array(Float32Array.from([0.5, -2]).buffer);
  const bytes = Uint8Array.from([255, ...numbers, 1, 2]);
  const columns = {
    a: { start: 0, type: "int8", rows: 1, columns: 1 },
    b: { start: 1, type: "float32", rows: 2, columns: 1 },
    d: { start: 9, type: "uint16", rows: 1, columns: 1 },
  };
  const data = new SceneData({ columns } as never, bytes);
  expect([...data.column("a")!.values]).toEqual([-1]);
  expect([...data.column("b")!.values]).toEqual([0.5, -2]);
  expect([...data.column("d")!.values]).toEqual([513]);
  expect(data.column("c")).toBeNull();
});

test("rows are made of columns", () => expect([...rowsOf(Uint8Array.from([1, 2, 3, 4]), 2, 2, 3)]).toEqual([1, 3, 2, 4, 0, 0]));

test("harmonics are packed into words, the low bits first, across their borders", () => {
  const values = Int8Array.from([1, -1, 2, 3, -63]);
  const [low, high] = packBits(values, 1, 5, { bits: 7, words: 2, capacity: 1 });
  const bits = (BigInt(high) << 32n) | BigInt(low);
  const found = [0, 7, 14, 21, 28].map((at) => Number(BigInt.asIntN(7, bits >> BigInt(at))));
  expect(found).toEqual([1, -1, 2, 3, -63]);
});

test("a narrow window sees as much of the width as the photo", () => {
  expect(fovFor(1, 2)).toBeCloseTo((180 / Math.PI) * 1);
  expect(fovFor(1, 1)).toBeGreaterThan(fovFor(1, 2));
});
