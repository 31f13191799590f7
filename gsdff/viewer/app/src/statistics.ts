// Middle and size of a selection, as gsdff reports them of an edit.

// Share of a selection, by number, that its size leaves out at either end of every axis: strays.
const OUTSIDE = 0.01;
// Gaussians by which the size is measured, evenly taken of more.
const MOST_MEASURED = 100_000;

export type Extent = { centre: number[]; size: number[] };

// Median of every axis: a place among most of a selection, wherever its strays are. Null for nothing.
export function medianOf(rows: Uint8Array, positions: Float32Array): number[] | null {
  let count = 0;
  for (let row = 0; row < rows.length; row++) count += rows[row];
  if (!count) return null;
  const step = Math.ceil(count / MOST_MEASURED);
  const measured = new Float32Array(Math.ceil(count / step));
  return [0, 1, 2].map((axis) => {
    let met = 0;
    rows.forEach((is, row) => {
      if (is && met++ % step === 0) measured[(met - 1) / step] = positions[3 * row + axis];
    });
    measured.sort();
    return measured[measured.length >> 1];
  });
}

// In the working frame; the middle is weighted by opacity. Null for nothing.
export function extentOf(rows: Uint8Array, positions: Float32Array, opacityOf: (row: number) => number): Extent | null {
  const sum = [0, 0, 0];
  let [weights, count] = [0, 0];
  rows.forEach((is, row) => {
    if (!is) return;
    const weight = Math.max(opacityOf(row), 1e-12);
    weights += weight;
    count++;
    for (let axis = 0; axis < 3; axis++) sum[axis] += weight * positions[3 * row + axis];
  });
  if (!count) return null;
  const step = Math.ceil(count / MOST_MEASURED);
  const measured = new Float32Array(Math.ceil(count / step));
  const size = [0, 1, 2].map((axis) => {
    let met = 0;
    rows.forEach((is, row) => {
      if (is && met++ % step === 0) measured[(met - 1) / step] = positions[3 * row + axis];
    });
    measured.sort();
    const outside = Math.floor(OUTSIDE * measured.length);
    return measured[measured.length - 1 - outside] - measured[outside];
  });
  return { centre: sum.map((value) => value / weights), size };
}
