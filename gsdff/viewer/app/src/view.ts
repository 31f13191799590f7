// A view of the scene: where points and lengths are in the window, in pixels from its top left.

export type View = {
  // World to camera, and camera to clip space, both column by column as three.js has them; the camera looks along -z.
  world: ArrayLike<number>;
  projection: ArrayLike<number>;
  width: number;
  height: number;
  // Depths between which Gaussians are drawn.
  near: number;
  far: number;
};

export type Point = [number, number];

const NEAREST = 1e-3;

// Writes column, row and depth of a point; false if it is behind the camera.
export function projectInto(out: Float64Array, view: View, x: number, y: number, z: number): boolean {
  const { world: W, projection: P } = view;
  const depth = -(W[2] * x + W[6] * y + W[10] * z + W[14]);
  if (depth < NEAREST) return false;
  const [across, up] = [W[0] * x + W[4] * y + W[8] * z + W[12], W[1] * x + W[5] * y + W[9] * z + W[13]];
  out[0] = (0.5 + (0.5 * (P[0] * across - P[8] * depth)) / depth) * view.width;
  out[1] = (0.5 - (0.5 * (P[5] * up - P[9] * depth)) / depth) * view.height;
  out[2] = depth;
  return true;
}

export const isBetween = ({ near, far }: View, depth: number) => depth >= near && depth <= far;

export function project(view: View, point: ArrayLike<number>): { at: Point; depth: number } | null {
  const out = new Float64Array(3);
  if (!projectInto(out, view, point[0], point[1], point[2])) return null;
  return { at: [out[0], out[1]], depth: out[2] };
}

// Pixels of a length of one at a depth.
export const pixelsPerUnit = (view: View, depth: number) => (0.5 * view.projection[5] * view.height) / depth;
