// The question on screen and its answer. Nothing stays on screen under another question's name.

import type { Header, SceneData, Word } from "./data";
import type { Scorer } from "./scorer";
import { type Shown, isAnswerMode } from "./shown";
import type { Words } from "./words";
import type { Answer } from "./worker";

// Scores and classes of other Gaussians; `asked` is the question that the scores answer.
export type Renewed = { asked: Answers["asked"]; scored: Answer | null; labels: Uint8Array | null };

export class Answers {
  // Question of the scores that are shown, and the one that is being computed; empty for none.
  question = "";
  pending = "";
  // Why there is no answer; empty if there is one, or no question.
  problem = "";
  // Time from a question to its answer on screen, and for the scores alone; for measurements.
  readonly times = { query: 0, scoring: 0 };
  // The words of the question; null for none.
  asked: { positives: Word[]; negatives: Word[] } | null = null;
  // The latent feature that is searched for in place of words; null for none.
  like: number[] | null = null;
  // Has a server give words their vectors; null if there is none.
  encode: ((words: Word[]) => Promise<void>) | null = null;
  private numAsked = 0;
  private labelling: Promise<Uint8Array | null> | null = null;

  constructor(
    private readonly header: Pick<Header, "classes">,
    private readonly shown: Shown,
    private readonly words: Pick<Words, "compare" | "unknown">,
    private readonly scorer: Pick<Scorer, "ask" | "score" | "renew"> | null,
    // The picture has changed, or only what is said of it.
    private readonly on: { changed(): void; named(): void },
  ) {}

  async search(positives: Word[], negatives: Word[]): Promise<void> {
    const asked = ++this.numAsked;
    this.like = null;
    const start = performance.now();
    const question = positives.map((word) => word.name).join(" or ");
    const unknown = this.words.unknown(positives, negatives);
    if (unknown.length && !(await this.learn(unknown, question, asked))) return;
    const compared = this.words.compare(positives, negatives);
    if (!compared.negatives.length) {
      return this.clear(`"${question}" has nothing to be compared with: exclude a word, as in -floor`);
    }
    this.pending = question;
    this.problem = "";
    this.asked = { positives, negatives };
    this.on.named();
    try {
      const answer = await this.scorer!.score(compared.positives, compared.negatives);
      if (asked !== this.numAsked) return;
      this.question = question;
      this.pending = "";
      this.shown.scores = answer.scores!;
      this.shown.threshold = answer.threshold!;
      this.shown.range = answer.range!;
      if (!isAnswerMode(this.shown.mode)) this.shown.mode = "heat";
      this.on.changed();
      this.times.query = performance.now() - start;
      this.times.scoring = answer.milliseconds;
    } catch (error) {
      if (asked === this.numAsked) this.clear(`"${question}" has no answer: ${String(error)}`);
    }
  }

  // Shows scores that the server has found, of what is like an example.
  takeLikeness(like: number[], { scores, threshold, range }: { scores: Float32Array; threshold: number; range: [number, number] }): void {
    this.clear();
    this.like = like;
    this.question = "like this place";
    Object.assign(this.shown, { scores, threshold, range, mode: "heat" });
    this.on.changed();
  }

  // Has the server encode words; whether they are, and nothing else has been asked since.
  private async learn(words: Word[], question: string, asked: number): Promise<boolean> {
    // the old answer is none to this question
    this.shown.scores = null;
    this.asked = null;
    this.pending = question;
    this.problem = "";
    this.on.changed();
    try {
      if (!this.encode) throw new Error("there is no server that encodes it");
      await this.encode(words);
    } catch (error) {
      if (asked === this.numAsked) this.clear((error as Error).message);
      return false;
    }
    return asked === this.numAsked;
  }

  // Answers for other Gaussians what is shown: the scores and classes, to be taken over with these by `Answers.take`.
  async renew(data: SceneData): Promise<Renewed> {
    const { asked, shown } = this;
    if (!this.scorer) return { asked: null, scored: null, labels: null };
    // only the server knows how similar the others are
    if (this.like) this.clear();
    this.scorer.renew(data);
    const isAnswered = asked !== null && shown.scores !== null;
    const compared = this.words.compare(asked?.positives ?? [], asked?.negatives ?? []);
    const [scored, labelled] = await Promise.all([
      isAnswered ? this.scorer.score(compared.positives, compared.negatives) : null,
      this.labelling ? this.scorer.ask({ kind: "classify", classes: this.header.classes.map((row) => row.vector) }) : null,
    ]);
    return { asked, scored, labels: labelled?.labels ?? null };
  }

  take({ asked, scored, labels }: Renewed): void {
    const { shown } = this;
    shown.labels = labels;
    this.labelling = labels && Promise.resolve(labels);
    // of another question since, the scores are of these Gaussians already
    if (asked !== this.asked || !scored) return;
    shown.scores = scored.scores!;
    shown.range = scored.range!;
  }

  // Takes the answer away, as its question no longer holds; the problem says why.
  clear(problem = ""): void {
    this.numAsked++;
    this.asked = this.like = null;
    this.question = this.pending = "";
    this.problem = problem;
    this.shown.scores = null;
    if (isAnswerMode(this.shown.mode)) this.shown.mode = "colours";
    this.on.changed();
  }

  // Forgets the classes of the Gaussians, as others are asked for now.
  forgetClasses(): void {
    this.labelling = null;
    this.shown.labels = null;
  }

  // The class of every Gaussian, computed once; null if that failed.
  classify(): Promise<Uint8Array | null> {
    this.labelling ??= this.scorer!.ask({ kind: "classify", classes: this.header.classes.map((row) => row.vector) }).then(
      ({ labels }) => {
        this.shown.labels = labels!;
        this.on.changed();
        return labels!;
      },
      (error: unknown) => {
        this.problem = `the classes could not be computed: ${String(error)}`;
        this.labelling = null;
        this.on.changed();
        return null;
      },
    );
    return this.labelling;
  }
}
