// Scores away from the page, so that it never stands still.

import { type Latents, classify, lengthsOf, relevancy, scoreRange, suggestThreshold } from "./scores";

export type Question =
  | { id: number; kind: "open"; latents: Latents; vectors: Float32Array }
  | { id: number; kind: "relevancy"; positives: number[]; negatives: number[] }
  | { id: number; kind: "classify"; classes: number[] };

export type Answer = {
  id: number;
  scores?: Float32Array;
  threshold?: number;
  range?: [number, number];
  labels?: Uint8Array;
};

let latents: Latents;
let lengths: Float64Array;
let vectors: Float32Array;

const pick = (ids: number[]) => ids.map((id) => vectors.subarray(id * latents.columns, (id + 1) * latents.columns));

function answer(question: Question): Answer {
  const { id } = question;
  if (question.kind === "open") {
    ({ latents, vectors } = question);
    lengths = lengthsOf(latents);
    return { id };
  }
  if (question.kind === "classify") return { id, labels: classify(latents, lengths, pick(question.classes)) };
  const scores = relevancy(latents, lengths, pick(question.positives), pick(question.negatives));
  return { id, scores, threshold: suggestThreshold(scores, lengths), range: scoreRange(scores) };
}

self.onmessage = (event: MessageEvent<Question>) => self.postMessage(answer(event.data));
