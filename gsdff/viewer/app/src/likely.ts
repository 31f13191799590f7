// The likeliest name of one Gaussian: the class, or where the page has none the word, whose vector is nearest.

import type { SceneData, Word } from "./data";

const LEAST_LENGTH = 1e-8;

export type Likely = { name: string; cosine: number };

export class Names {
  private readonly latents: { values: Int8Array; rows: number; columns: number } | null;
  private readonly vectors: { values: Float32Array; rows: number } | null;
  private readonly step: number;
  private readonly named: Word[];

  constructor(data: SceneData) {
    const { classes, words, latentStep } = data.header;
    this.named = classes.length ? classes : words;
    this.latents = data.column("latents") as typeof this.latents;
    const vectors = data.column("vectors");
    this.vectors = vectors && { values: vectors.values as Float32Array, rows: vectors.rows };
    this.step = latentStep;
  }

  // Null for a Gaussian without a feature, and a page without words.
  of(row: number): Likely | null {
    if (!this.latents || !this.vectors || !this.named.length) return null;
    const { values, rows, columns } = this.latents;
    const latent = Float64Array.from({ length: columns }, (_, k) => this.step * values[k * rows + row]);
    const length = Math.sqrt(latent.reduce((sum, value) => sum + value * value, 0));
    if (length < LEAST_LENGTH) return null;
    let [best, most] = ["", -Infinity];
    for (const { name, vector } of this.named) {
      if (vector === null || vector >= this.vectors.rows) continue; // only the server knows it, or the worker
      let cosine = 0;
      for (let k = 0; k < columns; k++) cosine += latent[k] * this.vectors.values[k * this.vectors.rows + vector];
      if (cosine > most) [best, most] = [name, cosine];
    }
    return best ? { name: best, cosine: most / length } : null;
  }
}
