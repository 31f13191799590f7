// Questions to the worker that computes scores, by number.

import type { SceneData, Word } from "./data";
import type { Latents } from "./scores";
import type { Answer, Question } from "./worker";
import ScoreWorker from "./worker?worker&inline";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

type Waiting = { resolve(answer: Answer): void; reject(reason: string): void };

export class Scorer {
  private readonly worker = new ScoreWorker();
  private readonly waiting = new Map<number, Waiting>();
  private readonly added = new Map<string, number>();
  private last = 0;

  private constructor(private numVectors: number) {
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
    const scorer = new Scorer(vectors.rows);
    const opened = scorer.ask(
      {
        kind: "open",
        latents,
        vectors: transpose(vectors.values as Float32Array, vectors.rows, vectors.columns),
        numBefore: data.numBefore,
        warm,
      },
      [latents.values.buffer],
    );
    // whoever asks it something is told the reason again
    opened.catch(() => undefined);
    return scorer;
  }

  // Takes over other Gaussians, which all questions from now on are about.
  renew(data: SceneData): void {
    const latents = latentsOf(data)!;
    void this.ask({ kind: "renew", latents }, [latents.values.buffer]);
  }

  // Gives words their vectors; equal ones share a number, as nothing is compared with the same twice.
  add(words: Word[], vectors: number[][]): void {
    const fresh: number[][] = [];
    words.forEach((word, i) => {
      const key = vectors[i].join();
      let number = this.added.get(key);
      if (number === undefined) {
        number = this.numVectors++;
        this.added.set(key, number);
        fresh.push(vectors[i]);
      }
      word.vector = number;
    });
    void this.ask({ kind: "add", vectors: Float32Array.from(fresh.flat()) });
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
