import { expect, test } from "vitest";
import { COLOR_MAPS, mapColor } from "../src/colormaps";

test.each(COLOR_MAPS)("%s stays within its ends", (name) => {
  expect(mapColor(name, -1)).toEqual(mapColor(name, 0));
  expect(mapColor(name, 2)).toEqual(mapColor(name, 1));
});

test("viridis goes from dark to bright, and is mixed between its points", () => {
  expect(mapColor("viridis", 1)[0]).toBeCloseTo(253 / 255);
  expect(mapColor("viridis", 1 / 16)[0]).toBeCloseTo((68 + 71) / 2 / 255);
});
