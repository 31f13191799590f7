import { expect, test } from "vitest";
import { RenewedData, SceneData, type Header } from "../src/data";
import { curvePoints } from "../src/live";

test("a curve fills its box, the highest value at the top", () => {
  expect(curvePoints([[10, 1], [20, 3], [30, 2]], 100, 20)).toBe("0.0,20.0 50.0,0.0 100.0,10.0");
  expect(curvePoints([[10, 1], [20, 1]], 100, 20)).toBe("0.0,10.0 100.0,10.0");
  expect(curvePoints([[10, 1]], 100, 20)).toBe("");
});

test("renewed data has the new columns, and the old ones of what stays", () => {
  const column = (start: number, rows: number) => ({ start, type: "uint8" as const, rows, columns: 1 });
  const header = { title: "room", numGaussians: 2, columns: { splats: column(0, 2), cameras: column(2, 1), sh1: column(0, 2) } } as unknown as Header;
  const first = new SceneData(header, Uint8Array.of(1, 2, 9));
  const renewed = new RenewedData(first, { numGaussians: 3, columns: { splats: column(0, 3) } }, Uint8Array.of(4, 5, 6));
  expect([renewed.numGaussians, renewed.header.title]).toEqual([3, "room"]);
  expect([...renewed.column("splats")!.values]).toEqual([4, 5, 6]);
  expect([...renewed.column("cameras")!.values]).toEqual([9]);
  expect(renewed.column("latents")).toBeNull();
  // of other Gaussians
  expect(first.column("sh1")).not.toBeNull();
  expect(renewed.column("sh1")).toBeNull();
});
