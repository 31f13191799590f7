// The words that the page knows: completion, and the vectors that a question compares.

import type { Header, Word } from "./data";

export const fold = (text: string) => text.trim().toLowerCase();

export class Words {
  private readonly byName: Map<string, Word>;
  private readonly vectors: number[];

  constructor(readonly header: Pick<Header, "words" | "defaultNegatives">) {
    this.byName = new Map([...header.words, ...(header.defaultNegatives ?? [])].map((word) => [word.name, word]));
    this.vectors = [...new Set(header.words.map((word) => word.vector))].sort((a, b) => a - b);
  }

  find(text: string): Word | undefined {
    return this.byName.get(fold(text));
  }

  // Names that hold a text: those that begin with it first, then those of which a word does ("plant" in potted plant).
  complete(text: string, most: number): string[] {
    const start = fold(text);
    const rank = (name: string) => (name.startsWith(start) ? 0 : name.includes(` ${start}`) ? 1 : 2);
    return this.header.words
      .map((word) => word.name)
      .filter((name) => name.includes(start))
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, most);
  }

  // The known name that a text means: itself, or its singular.
  recognise(text: string): Word | undefined {
    const name = fold(text);
    return this.find(name) ?? (name.endsWith("s") ? this.find(name.slice(0, -1)) : undefined);
  }

  // Vectors of the positives, and of what they are compared with, as `gsdff query` chooses them.
  compare(positives: Word[], negatives: Word[]): { positives: number[]; negatives: number[] } {
    const asked = new Set(positives.map((word) => word.name));
    const own = new Set(positives.map((word) => word.vector));
    const others = this.header.defaultNegatives
      ? this.header.defaultNegatives.filter((word) => !asked.has(word.name)).map((word) => word.vector)
      : this.vectors.filter((vector) => !own.has(vector));
    const compared = new Set([...negatives.map((word) => word.vector), ...others]);
    return { positives: positives.map((word) => word.vector), negatives: [...compared] };
  }
}
