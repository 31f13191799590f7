// Regions that are drawn by hand, and the Gaussians whose middles lie in them.

import { type Point, type View, isBetween, projectInto } from "./view";

export type Region =
  | { kind: "box"; from: Point; to: Point }
  | { kind: "lasso"; points: Point[] }
  | { kind: "brush"; points: Point[]; radius: number }
  // of the scene, at any depth
  | { kind: "sphere"; centre: number[]; radius: number };

export type Box = { left: number; top: number; right: number; bottom: number };

export function boundsOf(region: Exclude<Region, { kind: "sphere" }>): Box {
  const points = region.kind === "box" ? [region.from, region.to] : region.points;
  const margin = region.kind === "brush" ? region.radius : 0;
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return {
    left: Math.min(...xs) - margin,
    top: Math.min(...ys) - margin,
    right: Math.max(...xs) + margin,
    bottom: Math.max(...ys) + margin,
  };
}

export const within = (box: Box, outer: Box): Box => ({
  left: Math.max(box.left, outer.left),
  top: Math.max(box.top, outer.top),
  right: Math.min(box.right, outer.right),
  bottom: Math.min(box.bottom, outer.bottom),
});

function isInPolygon(points: Point[], x: number, y: number): boolean {
  let isInside = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [points[i], points[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) isInside = !isInside;
  }
  return isInside;
}

function isNear(points: Point[], radius: number, x: number, y: number): boolean {
  for (let i = 0; i < points.length; i++) {
    const [[ax, ay], [bx, by]] = [points[Math.max(i - 1, 0)], points[i]];
    const [dx, dy] = [bx - ax, by - ay];
    const length = dx * dx + dy * dy;
    const share = length ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1) : 0;
    const [ox, oy] = [x - ax - share * dx, y - ay - share * dy];
    if (ox * ox + oy * oy <= radius * radius) return true;
  }
  return false;
}

// Those of the candidates between the planes that a region of the window, or a sphere of the scene, holds.
export function inRegion(region: Region, view: View, positions: Float32Array, candidates: Uint8Array): Uint8Array {
  const found = new Uint8Array(candidates.length);
  const at = new Float64Array(3);
  if (region.kind === "sphere") {
    const [x, y, z] = region.centre;
    for (let row = 0, i = 0; row < found.length; row++, i += 3) {
      const distance = (positions[i] - x) ** 2 + (positions[i + 1] - y) ** 2 + (positions[i + 2] - z) ** 2;
      if (!candidates[row] || distance > region.radius ** 2) continue;
      const isSeen = projectInto(at, view, positions[i], positions[i + 1], positions[i + 2]) && isBetween(view, at[2]);
      // a sphere reaches behind the camera too, where no plane has been set
      if (isSeen || !view.near) found[row] = 1;
    }
    return found;
  }
  const { left, top, right, bottom } = boundsOf(region);
  for (let row = 0, i = 0; row < found.length; row++, i += 3) {
    if (!candidates[row] || !projectInto(at, view, positions[i], positions[i + 1], positions[i + 2])) continue;
    const [x, y] = at;
    if (!isBetween(view, at[2])) continue;
    if (x < left || x > right || y < top || y > bottom) continue;
    if (region.kind === "lasso" && !isInPolygon(region.points, x, y)) continue;
    if (region.kind === "brush" && !isNear(region.points, region.radius, x, y)) continue;
    found[row] = 1;
  }
  return found;
}
