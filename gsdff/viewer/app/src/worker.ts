// Scores away from the page, so that it never stands still.

import { withRim } from "./rim";
import { type Latents, type Shared, Similarities, classify, score } from "./scores";

export type Question =
  // thresholds and ranges are those of the first `numBefore` Gaussians; `warm` are vectors that will be asked for
  | { id: number; kind: "open"; latents: Latents; vectors: Float32Array; numBefore: number; warm: number[] }
  | { id: number; kind: "add"; vectors: Float32Array }
  // other Gaussians, for the same vectors
  | { id: number; kind: "renew"; latents: Latents }
  | { id: number; kind: "relevancy"; positives: number[]; negatives: number[] }
  // what has been computed so far, of weights those of some vectors
  | { id: number; kind: "share"; vectors: number[] }
  | { id: number; kind: "classify"; classes: number[] }
  // a byte for each Gaussian: whether it is there, selected, and may be part of the rim
  | { id: number; kind: "rim"; positions: Float32Array; there: Uint8Array; selected: Uint8Array; possible: Uint8Array };

export type Answer = {
  id: number;
  scores?: Float32Array;
  threshold?: number;
  range?: [number, number];
  labels?: Uint8Array;
  shared?: Shared;
  // A selection with its rim.
  found?: Uint8Array;
  // Why there is no answer.
  problem?: string;
  // Time that the answer took.
  milliseconds: number;
};

let similarities: Similarities;
let numBefore: number;

const rowsOf = (vectors: Float32Array, columns: number) =>
  Array.from({ length: vectors.length / columns }, (_, i) => vectors.subarray(i * columns, (i + 1) * columns));

function answer(question: Question): Omit<Answer, "milliseconds"> {
  const { id } = question;
  if (question.kind === "open") {
    const { latents, vectors } = question;
    similarities = new Similarities(latents, rowsOf(vectors, latents.columns));
    numBefore = question.numBefore;
    similarities.sum(question.warm);
    return { id };
  }
  if (question.kind === "renew") {
    similarities = new Similarities(question.latents, similarities.vectors);
    numBefore = question.latents.rows;
    return { id };
  }
  if (question.kind === "add") {
    similarities.add(rowsOf(question.vectors, similarities.latents.columns));
    return { id };
  }
  if (question.kind === "rim") {
    const { positions, there, selected, possible } = question;
    return { id, found: withRim(positions, there, selected, possible) };
  }
  if (question.kind === "classify") return { id, labels: classify(similarities, question.classes) };
  if (question.kind === "share") return { id, shared: similarities.share(question.vectors) };
  return { id, ...score(similarities, question.positives, question.negatives, numBefore) };
}

self.onmessage = (event: MessageEvent<Question>) => {
  const start = performance.now();
  let found: Omit<Answer, "milliseconds">;
  try {
    found = answer(event.data);
  } catch (error) {
    found = { id: event.data.id, problem: String(error) };
  }
  const sent = [found.scores, found.labels, found.found].filter((values) => values !== undefined).map((values) => values.buffer);
  self.postMessage({ ...found, milliseconds: performance.now() - start }, { transfer: sent });
};
