// What the page shows and does: the scene, the question, what is selected and deleted by hand. The panels call it.

import { Answers, type Renewed } from "./answers";
import { Orbit } from "./camera";
import { OPACITY, STRIDE } from "./gaussian";
import { Names } from "./likely";
import { type Region, boundsOf, inRegion, within } from "./regions";
import { visibleIn } from "./visibility";
import type { SceneData, Word } from "./data";
import { type ByText, Editor } from "./edits";
import { Picture } from "./picture";
import { possibleRim } from "./rim";
import { VOID } from "./scores";
import { Scorer } from "./scorer";
import { type How, answerOf, countAll, countAnswer, equalTo, rowsIn, selectable } from "./selection";
import { BEFORE, type Mode, type Shown, type Side, firstShown, isAnswerMode } from "./shown";
import { extentOf } from "./statistics";
import { describeThing } from "./things";
import { Words } from "./words";

export class Page {
  readonly shown: Shown;
  readonly words: Words;
  readonly picture: Picture;
  readonly orbit: Orbit;
  readonly answers: Answers;
  readonly editor: Editor;
  // How what is selected next joins what is selected.
  how: How = "new";
  readonly locked = new Set<number>();
  // Whether a region selects what is seen alone, or at all depths.
  isVisibleOnly = false;
  // Whether the answer to a question is selected with its rim, and whether one is being searched for.
  hasRim = true;
  isTaking = false;
  // Of lengths that are shown: of one working unit, and their name after the number.
  units: { factor: number; unit: string };
  private names: Names;
  private readonly scorer: Scorer | null;
  // Told when anything that is shown has changed.
  readonly changedHandlers: (() => void)[] = [];
  // Told when a gesture begins to move the camera.
  readonly gestureHandlers: (() => void)[] = [];

  constructor(public data: SceneData) {
    const { header } = data;
    this.words = new Words(header);
    this.shown = firstShown(data);
    this.units = { factor: header.frame.scale, unit: "" };
    this.names = new Names(data);
    const canvas = document.getElementById("picture") as HTMLCanvasElement;
    this.picture = new Picture(canvas, data);
    this.orbit = new Orbit(this.picture.camera, canvas, header.start, {
      onMove: () => this.picture.ask(),
      onStart: () => this.gestureHandlers.forEach((handler) => handler()),
    });
    this.scorer = Scorer.open(data, this.words.compare([], []).negatives);
    this.answers = new Answers(header, this.shown, this.words, this.scorer, this);
    this.editor = new Editor(data.numGaussians, this.shown, (rows) => this.meanColor(rows), () => this.changed());
    const resize = () => {
      this.orbit.fit(window.innerWidth, window.innerHeight);
      this.picture.resize(window.innerWidth, window.innerHeight);
    };
    window.addEventListener("resize", resize);
    resize();
  }

  // Gives words their vectors, which a server has encoded.
  learn(words: Word[], vectors: number[][]): void {
    this.scorer!.add(words, vectors);
  }

  // Takes over Gaussians of the same scene after more training, with the answers for them.
  renew(data: SceneData, answers: Renewed): void {
    this.data = data;
    this.names = new Names(data);
    this.picture.replace(data);
    this.answers.take(answers);
    // shows it all
    this.editor.restart(data.numGaussians);
  }

  changed(): void {
    this.picture.show(this.shown);
    this.named();
  }

  // Says anew what is shown, where the picture is as it was.
  named(): void {
    for (const handler of this.changedHandlers) handler();
  }

  get times(): Answers["times"] {
    return this.answers.times;
  }

  // Side of an edit that is in the middle of attention: the left one, unless it is not shown.
  get side(): Side {
    return this.picture.sideAt(0);
  }

  // --- what the question selects

  answer(): Uint8Array {
    return answerOf(this.shown, this.data.numGaussians, this.side);
  }

  selected(): number[] {
    return rowsIn(this.answer());
  }

  // The answer in words, with its count on the side that is shown.
  describeAnswer(): string {
    const { question, pending, problem } = this.answers;
    if (problem) return problem;
    if (pending) return `searching for ${pending} …`;
    if (!this.shown.scores) return "";
    const count = countAnswer(this.shown, this.data.numGaussians, this.side);
    const total = countAll(this.shown, this.data.numGaussians, this.side);
    const share = ((100 * count) / Math.max(total, 1)).toFixed(1);
    const aside = isAnswerMode(this.shown.mode) ? "" : " – not what is on screen now";
    const [some, all] = [count, total].map((number) => number.toLocaleString("en"));
    return `${question}: ${some} of ${all} Gaussians (${share} %)${aside}`;
  }

  async setMode(mode: Mode): Promise<void> {
    if (mode === "classes" && !(await this.answers.classify())) return;
    if (isAnswerMode(mode) && !this.shown.scores) return;
    this.shown.mode = mode;
    this.changed();
  }

  // Has other classes, of words that have vectors.
  setClasses(classes: SceneData["header"]["classes"]): void {
    const { header } = this.data;
    header.classes.splice(0, Infinity, ...classes);
    Object.assign(this.shown, { classColors: classes.map((row) => row.color), isolated: null, hiddenClasses: new Set() });
    this.names = new Names(this.data);
    this.answers.forgetClasses();
  }

  setThreshold(value: number): void {
    this.shown.threshold = value;
    this.changed();
  }

  // --- what is selected by hand

  selectable(side = this.side): Uint8Array {
    return selectable(this.shown, this.data.numGaussians, side, this.locked);
  }

  // Takes what is found, of what may be selected; `text` are words that find it.
  take(found: Uint8Array, name: string, how = this.how, text: ByText | null = null): void {
    const may = this.selectable();
    const isWhole = found.every((is, row) => !is || may[row] === 1);
    this.editor.select(found.map((is, row) => is & may[row]), how, name, isWhole ? text : null);
  }

  // Takes what the question selects, with its rim if that is wanted.
  async takeAnswer(): Promise<void> {
    const { answers, data, shown, side, how } = this;
    const { asked, question } = answers;
    const found = this.answer();
    if (!asked) return this.take(found, `select ${question}`);
    const [positives, negatives] = [asked.positives, asked.negatives].map((words) => words.map((word) => word.name));
    const text = { positives, negatives, threshold: shown.threshold, rim: this.hasRim };
    const whole = this.hasRim ? await this.withRim(found) : found;
    // of Gaussians that have gone, or of a question that is no longer on screen
    if (data !== this.data || asked !== answers.asked) return;
    // what an edit has made is not there when a file of edits begins
    const isOfRun = !data.header.comparison || side === BEFORE;
    this.take(whole, `select ${question}`, how, isOfRun ? text : null);
  }

  private async withRim(selected: Uint8Array): Promise<Uint8Array> {
    const { scores, threshold } = this.shown;
    const there = this.there();
    const question = { positions: this.picture.positions, there, selected, possible: possibleRim(scores!, threshold, there) };
    this.isTaking = true;
    this.named();
    try {
      return (await this.scorer!.ask({ kind: "rim", ...question })).found!;
    } finally {
      this.isTaking = false;
      this.named();
    }
  }

  // All that is there, hidden or not.
  private there(): Uint8Array {
    return selectable({ ...this.shown, things: null, hidden: null }, this.data.numGaussians, this.side, new Set());
  }

  // Takes what a region holds of what is drawn.
  takeRegion(region: Region, how = this.how): void {
    const { picture } = this;
    const view = picture.view();
    const start = region.kind === "sphere" ? null : region.kind === "box" ? region.from : region.points[0];
    const side = start ? picture.sideAt(start[0] / view.width) : this.side;
    const shapes = picture.shapes(side);
    const may = this.selectable(side).map((is, row) => (is && shapes.splats[row * STRIDE + OPACITY] ? 1 : 0));
    let found = inRegion(region, view, shapes.positions, may);
    if (this.isVisibleOnly) {
      const window = { left: 0, top: 0, right: view.width, bottom: view.height };
      found = visibleIn(region.kind === "sphere" ? window : within(boundsOf(region), window), view, shapes, found);
    }
    this.editor.select(found, how, `select by ${region.kind}`);
  }

  // Gaussians of a thing that are there, locked or hidden as it may be.
  thing(id: number): Uint8Array {
    const there = this.there();
    return equalTo(this.shown.things!, id).map((is, row) => is & there[row]);
  }

  async takeClass(index: number): Promise<void> {
    const labels = await this.answers.classify();
    if (labels) this.take(equalTo(labels, index), `select ${this.data.header.classes[index].name}`);
  }

  // Looks at what is selected, or at all that is there, from where the camera is.
  frame(): void {
    const { editor, picture } = this;
    const rows = editor.numSelected ? editor.selected : this.selectable();
    const extent = extentOf(rows, picture.positions, (row) => picture.original(row).opacity);
    if (extent) this.orbit.frame(extent.centre, Math.max(...extent.size) / 2);
  }

  // --- places of the window, both from 0 to 1

  // Index of the Gaussian at a place; null for none.
  pick(x: number, y: number): number | null {
    return this.picture.pick(x, y)?.row ?? null;
  }

  // What is at a place, in words, and the number of its thing, 0 for none.
  async describe(x: number, y: number): Promise<{ text: string; thing: number }> {
    const { header } = this.data;
    const row = this.pick(x, y);
    if (row === null) return { text: "", thing: 0 };
    const id = this.shown.things?.[row] ?? 0;
    const thing = header.things.find((other) => other.id === id);
    const parts = [thing ? describeThing(thing) : header.things.length ? "no thing" : ""];
    if (header.classes.length) {
      const label = (await this.answers.classify())?.[row] ?? VOID;
      if (label !== VOID) parts.push(`class ${header.classes[label].name}`);
    }
    if (this.shown.scores) parts.push(`${this.answers.question} ${this.shown.scores[row].toFixed(3)}`);
    return { text: parts.filter(Boolean).join("; "), thing: thing?.id ?? 0 };
  }

  // Likely class, thing and score at a place, in lines; none where nothing is.
  likely(x: number, y: number): string[] {
    const row = this.pick(x, y);
    if (row === null) return [];
    const { header } = this.data;
    const likely = this.names.of(row);
    const thing = header.things.find((other) => other.id === this.shown.things?.[row]);
    const lines = [];
    if (likely) lines.push(`${header.classes.length ? "" : "nearest word "}${likely.name} (cosine ${likely.cosine.toFixed(2)})`);
    if (header.things.length) lines.push(thing ? `in ${thing.name === null ? "" : "thing "}${thing.name ?? `thing ${thing.id}`}` : "in no thing");
    if (this.shown.scores) lines.push(`relevancy of “${this.answers.question}” ${this.shown.scores[row].toFixed(3)}`);
    return lines.length ? lines : [`Gaussian ${row}`];
  }

  // Shows lengths with a working unit of this length.
  setUnits(factor: number, unit: string): void {
    this.units = { factor, unit };
    this.changed();
  }

  // Position of the camera and the point that it turns about.
  pose(): number[] {
    return [...this.picture.camera.position.toArray(), ...this.orbit.controls.target.toArray()];
  }

  private meanColor(rows: Uint8Array): number[] {
    const sum = [0, 0, 0];
    let weights = 0;
    rows.forEach((is, row) => {
      if (!is) return;
      const { color, opacity } = this.picture.original(row);
      weights += opacity;
      color.forEach((value, i) => (sum[i] += opacity * Math.max(value, 0)));
    });
    return sum.map((value) => value / Math.max(weights, 1e-12));
  }
}

