// A camera at the origin that looks along -z, in a window where a unit at depth 10 is a tenth of the height.

import type { View } from "../src/view";

export function camera(width: number, height: number): View {
  const world = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const projection = [(2 * height) / width, 0, 0, 0, 0, 2, 0, 0, 0, 0, -1, -1, 0, 0, -0.02, 0];
  return { world, projection, width, height, near: 0, far: Infinity };
}
