// The page: reads the scene in this file, draws it, and answers questions about it. It asks nothing of a network.

import { Orbit } from "./camera";
import { type SceneData, readScene } from "./data";
import { Panels } from "./panels";
import { Picture } from "./picture";
import { type Mode, type Shown, countLabels, select } from "./selection";
import type { Answer, Question } from "./worker";
import ScoreWorker from "./worker?worker&inline";
import { Words } from "./words";
import type { Word } from "./data";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

// Questions to the worker, by number; only the newest of a kind is still of interest.
class Scorer {
  private readonly worker = new ScoreWorker();
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private last = 0;

  constructor() {
    this.worker.onmessage = (event: MessageEvent<Answer>) => {
      this.waiting.get(event.data.id)?.(event.data);
      this.waiting.delete(event.data.id);
    };
  }

  ask(question: WithoutId<Question>): Promise<Answer> {
    const id = ++this.last;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.worker.postMessage({ ...question, id });
    });
  }
}

export class Page {
  readonly shown: Shown;
  private readonly words: Words;
  private readonly panels: Panels;
  private readonly picture: Picture;
  private readonly orbit: Orbit;
  private readonly scorer: Scorer | null;
  private question = "";
  private numAsked = 0;

  constructor(readonly data: SceneData) {
    const { header } = data;
    this.words = new Words(header);
    this.shown = {
      mode: "colours",
      scores: null,
      threshold: 0,
      range: [0, 1],
      labels: null,
      classColors: header.classes.map((row) => row.color),
      isolated: null,
    };
    const canvas = document.getElementById("picture") as HTMLCanvasElement;
    this.picture = new Picture(canvas, data);
    this.orbit = new Orbit(this.picture.camera, canvas, header.start, () => this.picture.ask());
    this.panels = new Panels(header, {
      search: (positives, negatives) => void this.search(positives, negatives),
      clear: () => this.clear(),
      threshold: (value) => this.setThreshold(value),
      mode: (mode) => void this.setMode(mode),
      isolate: (index) => {
        this.shown.isolated = index;
        this.picture.show(this.shown);
      },
      reset: () => this.orbit.reset(),
    });
    this.panels.showMode("colours", false);
    this.scorer = this.openScorer();
    const resize = () => {
      this.orbit.fit(window.innerWidth, window.innerHeight);
      this.picture.resize(window.innerWidth, window.innerHeight);
    };
    window.addEventListener("resize", resize);
    resize();
  }

  // Indices of the Gaussians that the question on screen selects.
  selected(): number[] {
    return this.shown.scores ? select(this.shown.scores, this.shown.threshold) : [];
  }

  private openScorer(): Scorer | null {
    const latents = this.data.column("latents");
    const vectors = this.data.column("vectors");
    if (!latents || !vectors) return null;
    const scorer = new Scorer();
    const step = this.data.header.latentStep;
    void scorer.ask({
      kind: "open",
      latents: { values: latents.values as Int8Array, rows: latents.rows, columns: latents.columns, step },
      vectors: transpose(vectors.values as Float32Array, vectors.rows, vectors.columns),
    });
    return scorer;
  }

  private async search(positives: Word[], negatives: Word[]): Promise<void> {
    const asked = ++this.numAsked;
    this.question = positives.map((word) => word.name).join(" or ");
    const compared = this.words.compare(positives, negatives);
    if (!compared.negatives.length) {
      this.clear();
      this.panels.say(`"${this.question}" has nothing to be compared with: exclude a word, as in -floor`);
      return;
    }
    this.panels.say(`searching for ${this.question} …`);
    const answer = await this.scorer!.ask({ kind: "relevancy", ...compared });
    if (asked !== this.numAsked) return;
    this.shown.scores = answer.scores!;
    this.shown.threshold = answer.threshold!;
    this.shown.range = answer.range!;
    if (["colours", "classes"].includes(this.shown.mode)) this.shown.mode = "heat";
    this.update();
  }

  private clear(): void {
    this.numAsked++;
    this.question = "";
    this.shown.scores = null;
    if (this.shown.mode !== "classes") this.shown.mode = "colours";
    this.update();
  }

  private setThreshold(value: number): void {
    this.shown.threshold = value;
    this.update();
  }

  private async setMode(mode: Mode): Promise<void> {
    if (mode === "classes" && !this.shown.labels) {
      const { classes } = this.data.header;
      const answer = await this.scorer!.ask({ kind: "classify", classes: classes.map((row) => row.vector) });
      this.shown.labels = answer.labels!;
      this.panels.showLegend(classes, countLabels(answer.labels!, classes.length));
    }
    this.shown.mode = mode;
    this.update();
  }

  private update(): void {
    const { scores, threshold, range, mode } = this.shown;
    const isAnswer = scores !== null && mode !== "classes";
    this.panels.showMode(mode, scores !== null);
    this.panels.showThreshold(isAnswer ? threshold : null, range);
    if (mode === "classes") this.panels.say(`the best of ${this.data.header.classes.length} classes`);
    else if (scores) {
      const count = select(scores, threshold).length;
      const total = this.data.numGaussians;
      const share = ((100 * count) / total).toFixed(1);
      this.panels.say(
        `${this.question}: ${count.toLocaleString("en")} of ${total.toLocaleString("en")} Gaussians (${share} %)`,
      );
    } else this.panels.say("");
    this.picture.show(this.shown);
  }
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: values.length }, (_, i) => values[(i % columns) * rows + Math.floor(i / columns)]);
}

declare global {
  interface Window {
    gsdff?: Page;
  }
}

readScene(document)
  .then((data) => {
    window.gsdff = new Page(data);
    document.getElementById("loading")!.hidden = true;
  })
  .catch((error: unknown) => {
    document.getElementById("loading")!.textContent = `This file cannot be shown: ${String(error)}`;
  });
