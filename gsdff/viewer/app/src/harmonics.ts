// Harmonics in Spark's layout: words of 32 bits a Gaussian, in which recoloured and turned Gaussians have other ones.

import { type SceneData, packBits } from "./data";
import { LUMINANCE } from "./paint";
import type { Moved } from "./placing";
import { Turns } from "./turning";

type Layout = { name: string; bits: number; words: number };

const BANDS: Layout[] = [
  { name: "sh1", bits: 7, words: 2 },
  { name: "sh2", bits: 8, words: 4 },
  { name: "sh3", bits: 6, words: 4 },
];

// Largest number that is stored in so many bits.
const largest = (bits: number) => 2 ** (bits - 1) - 1;

// Writes the words of one Gaussian, its coefficients' red, green and blue one after another; with a hue each triple is its
// luminance times that, as the edit `recolor` has it. A turn is the matrix of the band.
export function packRow(
  out: Uint32Array,
  row: number,
  { values, rows, columns }: { values: Int8Array; rows: number; columns: number },
  { bits, words }: Pick<Layout, "bits" | "words">,
  hue: number[] | null,
  turn: number[][] | null = null,
): void {
  out.fill(0, row * words, (row + 1) * words);
  const stored = (column: number) => values[column * rows + row];
  const turned = (column: number) =>
    turn![Math.floor(column / 3)].reduce((sum, factor, i) => sum + factor * stored(3 * i + (column % 3)), 0);
  const at = turn ? turned : stored;
  const most = largest(bits);
  for (let c = 0; c < columns; c++) {
    const first = c - (c % 3);
    const luminance = LUMINANCE.reduce((sum, weight, i) => sum + weight * at(first + i), 0);
    const value = hue || turn ? Math.min(Math.max(Math.round(hue ? hue[c % 3] * luminance : at(c)), -most), most) : at(c);
    const bit = c * bits;
    const code = value & ((1 << bits) - 1);
    out[row * words + (bit >> 5)] |= code << (bit & 31);
    if ((bit & 31) + bits > 32) out[row * words + (bit >> 5) + 1] |= code >>> (32 - (bit & 31));
  }
}

export class Harmonics {
  // By Spark's names: the words, and the largest value of each band.
  readonly words: Record<string, Uint32Array> = {};
  readonly steps: Record<string, number> = {};
  private readonly bands: (Layout & { values: Int8Array; rows: number; columns: number })[];
  private tinted: Uint16Array | null = null;
  private moves: readonly Moved[] = [];
  private turns = new Turns([]);

  constructor(data: SceneData, capacity: number) {
    this.bands = data.header.bandSteps.map((_, i) => {
      const { values, rows, columns } = data.column(BANDS[i].name)!;
      return { ...BANDS[i], values: values as Int8Array, rows, columns };
    });
    this.bands.forEach(({ name, bits, words, values, rows, columns }, i) => {
      this.words[name] = packBits(values, rows, columns, { bits, words, capacity });
      this.steps[`${name}Max`] = data.header.bandSteps[i] * largest(bits);
    });
  }

  // Changes the words to tints, by their number from 1 on, and to turns; false if nothing has changed.
  show(tinted: Uint16Array | null, tints: number[][], moves: readonly Moved[]): boolean {
    if ((tinted === this.tinted && moves === this.moves) || !this.bands.length) return false;
    const [before, turnsBefore] = [this.tinted, this.turns];
    if (moves !== this.moves) this.turns = new Turns(moves);
    [this.tinted, this.moves] = [tinted, moves];
    for (let row = 0; row < this.bands[0].rows; row++) {
      const number = tinted?.[row] ?? 0;
      // a number may have come to mean another hue, and a turn another one
      if (!number && !before?.[row] && !this.turns.has(row) && !turnsBefore.has(row)) continue;
      const turns = this.turns.of(row);
      this.bands.forEach((band, i) =>
        packRow(this.words[band.name], row, band, band, number ? tints[number - 1] : null, turns && turns[i]),
      );
    }
    return true;
  }
}
