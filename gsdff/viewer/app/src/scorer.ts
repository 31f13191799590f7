// Questions to the worker that computes scores, by number; one that takes no longer than a few pictures do is answered
// here. After a press of a key the browser lets a worker's answer wait until the next picture, for up to 50 ms.

import type { SceneData, Word } from "./data";
import { type Latents, Similarities, score } from "./scores";
import type { Answer, Question } from "./worker";
import ScoreWorker from "./worker?worker&inline";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

// Numbers of Gaussians times vectors that are computed here.
const MOST_HERE = 250_000;

type Waiting = { resolve(answer: Answer): void; reject(reason: string): void };

export class Scorer {
  private readonly worker = new ScoreWorker();
  private readonly waiting = new Map<number, Waiting>();
  private readonly added = new Map<string, number>();
  private last = 0;
  // What answers here, when the worker has told what it has computed; null in scenes that are too large, or that train.
  private here: Similarities | null = null;
  private isFirst = true;

  private constructor(
    private readonly vectors: Float32Array[],
    private readonly numBefore: number,
  ) {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.problem === undefined) waiting?.resolve(data);
      else waiting?.reject(data.problem);
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(event.message || "the worker has stopped");
      this.waiting.clear();
    };
  }

  // A worker that has the scene's latents and words; null for a scene without features.
  static open(data: SceneData, warm: number[]): Scorer | null {
    const latents = latentsOf(data);
    const vectors = data.column("vectors");
    if (!latents || !vectors) return null;
    const transposed = transpose(vectors.values as Float32Array, vectors.rows, vectors.columns);
    const rows = Array.from({ length: vectors.rows }, (_, i) => transposed.subarray(i * vectors.columns, (i + 1) * vectors.columns));
    const scorer = new Scorer(rows, data.numBefore);
    const opened = scorer.ask(
      {
        kind: "open",
        latents,
        vectors: transposed,
        numBefore: data.numBefore,
        warm,
      },
      [latents.values.buffer],
    );
    // whoever asks it something is told the reason again
    opened.catch(() => undefined);
    if (latents.rows <= MOST_HERE) void scorer.open(data, warm);
    return scorer;
  }

  // Answers here from now on what is known, or soon computed.
  private async open(data: SceneData, warm: number[]): Promise<void> {
    const { shared } = await this.ask({ kind: "share", vectors: warm });
    // the training has gone on since
    if (!this.isFirst) return;
    const { values, rows, columns } = data.column("latents")!;
    const latents = { values: values as Int8Array, rows, columns, step: data.header.latentStep };
    this.here = new Similarities(latents, this.vectors.slice(0, shared!.count));
    this.here.take(shared!);
    this.here.add(this.vectors.slice(shared!.count));
  }

  // The relevancy of all Gaussians for words, by the numbers of their vectors.
  async score(positives: number[], negatives: number[]): Promise<Answer> {
    const { here } = this;
    if (here && here.numMissing(positives, negatives) * here.numRows <= MOST_HERE) {
      const start = performance.now();
      const scored = score(here, positives, negatives, this.numBefore);
      return { id: 0, ...scored, milliseconds: performance.now() - start };
    }
    const answer = await this.ask({ kind: "relevancy", positives, negatives });
    if (here) void this.learn(here, [...positives, ...negatives]);
    return answer;
  }

  // Takes over what the worker has computed for a question, so that the next one with the same negatives is soon answered.
  private async learn(here: Similarities, ids: number[]): Promise<void> {
    const { shared } = await this.ask({ kind: "share", vectors: ids });
    if (shared!.count === here.vectors.length) here.take(shared!);
  }

  // Takes over other Gaussians, which all questions from now on are about.
  renew(data: SceneData): void {
    const latents = latentsOf(data)!;
    this.isFirst = false;
    this.here = null;
    void this.ask({ kind: "renew", latents }, [latents.values.buffer]);
  }

  // Gives words their vectors; equal ones share a number, as nothing is compared with the same twice.
  add(words: Word[], vectors: number[][]): void {
    const fresh: Float32Array[] = [];
    words.forEach((word, i) => {
      const key = vectors[i].join();
      let number = this.added.get(key);
      if (number === undefined) {
        number = this.vectors.length;
        this.added.set(key, number);
        fresh.push(Float32Array.from(vectors[i]));
        this.vectors.push(fresh[fresh.length - 1]);
      }
      word.vector = number;
    });
    void this.ask({ kind: "add", vectors: Float32Array.from(fresh.flatMap((vector) => [...vector])) });
    this.here?.add(fresh);
  }

  ask(question: WithoutId<Question>, transfer: Transferable[] = []): Promise<Answer> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...question, id }, transfer);
    });
  }
}

function latentsOf(data: SceneData): Latents | null {
  const column = data.column("latents");
  // a part of the file's bytes would be sent with all of them
  return column && { values: (column.values as Int8Array).slice(), rows: column.rows, columns: column.columns, step: data.header.latentStep };
}

export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: values.length }, (_, i) => values[(i % columns) * rows + Math.floor(i / columns)]);
}
