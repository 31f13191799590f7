// Middle and size of a selection, as gsdff reports them of an edit.

// Share of a selection, by number, that its size leaves out at either end of every axis: strays.
const OUTSIDE = 0.01;
// Gaussians by which the size is measured, evenly taken of more.
const MOST_MEASURED = 100_000;

export type Extent = { centre: number[]; size: number[] };

// Positions of some rows along every axis, in order. Null for nothing.
function sorted(rows: Uint8Array, positions: Float32Array): Float32Array[] | null {
  let count = 0;
  for (let row = 0; row < rows.length; row++) count += rows[row];
  if (!count) return null;
  const step = Math.ceil(count / MOST_MEASURED);
  return [0, 1, 2].map((axis) => {
    const measured = new Float32Array(Math.ceil(count / step));
    let met = 0;
    rows.forEach((is, row) => {
      if (is && met++ % step === 0) measured[(met - 1) / step] = positions[3 * row + axis];
    });
    return measured.sort();
  });
}

// Median of every axis: a place among most of a selection, wherever its strays are. Null for nothing.
export function medianOf(rows: Uint8Array, positions: Float32Array): number[] | null {
  return sorted(rows, positions)?.map((measured) => measured[measured.length >> 1]) ?? null;
}

// In the working frame; the middle is weighted by opacity. Null for nothing.
export function extentOf(rows: Uint8Array, positions: Float32Array, opacityOf: (row: number) => number): Extent | null {
  const measured = sorted(rows, positions);
  if (!measured) return null;
  const sum = [0, 0, 0];
  let weights = 0;
  rows.forEach((is, row) => {
    if (!is) return;
    const weight = Math.max(opacityOf(row), 1e-12);
    weights += weight;
    for (let axis = 0; axis < 3; axis++) sum[axis] += weight * positions[3 * row + axis];
  });
  const size = measured.map((places) => {
    const outside = Math.floor(OUTSIDE * places.length);
    return places[places.length - 1 - outside] - places[outside];
  });
  return { centre: sum.map((value) => value / weights), size };
}
