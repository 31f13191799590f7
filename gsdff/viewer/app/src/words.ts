// The words that the page knows: completion, what a text may mean, and the vectors that a question compares.

import type { Header, Word } from "./data";

const MOST_MEANT = 4;
// Letters that may be wrong, by the length of a word.
const wrongLetters = (length: number) => (length < 4 ? 0 : length < 8 ? 1 : 2);

export const fold = (text: string) => text.trim().toLowerCase();

// Numbers of the vectors of words that have one yet.
const known = (words: Word[]) => words.map((word) => word.vector).filter((vector) => vector !== null);
// A plural's possible singulars, the longest first: "boxes" is of "boxe" or "box".
function singulars(name: string): string[] {
  if (name.endsWith("ies")) return [`${name.slice(0, -3)}y`, name.slice(0, -1)];
  if (name.endsWith("ves")) return [`${name.slice(0, -3)}f`];
  if (name.endsWith("es")) return [name.slice(0, -1), name.slice(0, -2)];
  return name.endsWith("s") && !name.endsWith("ss") ? [name.slice(0, -1)] : [];
}

// Number of letters that are added, left out, changed or swapped with the next between two words.
export function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, same);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) rows[i][j] = Math.min(rows[i][j], rows[i - 2][j - 2] + 1);
    }
  }
  return rows[a.length][b.length];
}

export class Words {
  private readonly byName: Map<string, Word>;
  private readonly vectors: number[];

  constructor(readonly header: Pick<Header, "words" | "defaultNegatives">) {
    this.byName = new Map([...header.words, ...(header.defaultNegatives ?? [])].map((word) => [word.name, word]));
    this.vectors = [...new Set(known(header.words))].sort((a, b) => a - b);
  }

  // Whether there is a server that encodes words which are not in the list.
  get isOpen(): boolean {
    return this.header.words.some((word) => word.vector === null);
  }

  get names(): string[] {
    return this.header.words.map((word) => word.name);
  }

  find(text: string): Word | undefined {
    return this.byName.get(fold(text));
  }

  // A text that no list knows, for the server to encode.
  learn(text: string): Word {
    const word: Word = { name: fold(text), vector: null };
    this.byName.set(word.name, word);
    return word;
  }

  // The words of a question without a vector yet, with those that it is compared with.
  unknown(positives: Word[], negatives: Word[]): Word[] {
    const asked = [...positives, ...negatives, ...(this.header.defaultNegatives ?? [])];
    return [...new Set(asked)].filter((word) => word.vector === null);
  }

  // Names that hold a text: those that begin with it first, then those of which a word does ("plant" in potted plant).
  complete(text: string, most: number): string[] {
    const start = fold(text);
    const rank = (name: string) => (name.startsWith(start) ? 0 : name.includes(` ${start}`) ? 1 : 2);
    return this.names
      .filter((name) => name.includes(start))
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, most);
  }

  // The known name that a text means: itself, its singular or plural, or the only name that has it as a word.
  recognise(text: string): Word | undefined {
    const name = fold(text);
    const forms = [name, ...singulars(name), `${name}s`];
    for (const form of forms) {
      const found = this.find(form);
      if (found) return found;
    }
    const holding = this.names.filter((other) => other.split(" ").some((part) => forms.includes(part)));
    return holding.length === 1 ? this.find(holding[0]) : undefined;
  }

  // Known names that a text that is none may have been meant as, the most likely first.
  suggest(text: string): string[] {
    const name = fold(text);
    const parts = new Set(name.split(" ").flatMap((part) => [part, ...singulars(part)]));
    const holding = this.names.filter((other) => other.split(" ").some((part) => parts.has(part)));
    const spelled = this.names
      .map((other) => ({ other, distance: Math.min(...[other, ...other.split(" ")].map((part) => editDistance(name, part))) }))
      .filter(({ distance }) => distance <= wrongLetters(name.length))
      .sort((a, b) => a.distance - b.distance)
      .map(({ other }) => other);
    return [...new Set([...this.complete(name, MOST_MEANT), ...holding, ...spelled])].slice(0, MOST_MEANT);
  }

  // Vectors of the positives, and of what they are compared with, as `gsdff query` chooses them.
  compare(positives: Word[], negatives: Word[]): { positives: number[]; negatives: number[] } {
    const asked = new Set(positives.map((word) => word.name));
    const own = new Set(positives.map((word) => word.vector));
    const others = this.header.defaultNegatives
      ? known(this.header.defaultNegatives.filter((word) => !asked.has(word.name)))
      : this.vectors.filter((vector) => !own.has(vector));
    return { positives: known(positives), negatives: [...new Set([...known(negatives), ...others])] };
  }
}
