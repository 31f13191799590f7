// The page: reads the scene in this file, draws it, and answers questions about it. It asks nothing of a network.

import { Orbit } from "./camera";
import { Divider } from "./comparison";
import { type SceneData, type Word, readScene } from "./data";
import { Panels } from "./panels";
import { Picture } from "./picture";
import { VOID } from "./scores";
import { Scorer } from "./scorer";
import { BEFORE, type Mode, type Shown, type ThingIds, countLabels, countSelected, select } from "./selection";
import { onTap } from "./tap";
import { ThingList, describeThing } from "./things";
import { TourBar } from "./tour";
import { Words } from "./words";

// Colour of what is in no thing.
const NO_THING = [0.3, 0.3, 0.3];

export class Page {
  readonly shown: Shown;
  // Time from a question to its answer on screen, and of the worker's part; for measurements.
  readonly times = { query: 0, worker: 0 };
  private readonly words: Words;
  private readonly panels: Panels;
  private readonly picture: Picture;
  private readonly orbit: Orbit;
  private readonly things: ThingList;
  private readonly scorer: Scorer | null;
  private question = "";
  private numAsked = 0;

  constructor(readonly data: SceneData) {
    const { header } = data;
    this.words = new Words(header);
    const thingColors = [NO_THING];
    for (const thing of header.things) thingColors[thing.id] = thing.color;
    this.shown = {
      mode: "colours",
      scores: null,
      threshold: 0,
      range: [0, 1],
      labels: null,
      classColors: header.classes.map((row) => row.color),
      isolated: null,
      things: (data.column("things")?.values as ThingIds | undefined) ?? null,
      thingColors: Array.from(thingColors, (color) => color ?? NO_THING),
      hiddenThings: new Set(),
      isolatedThing: null,
      selectedThing: null,
      sides: (data.column("sides")?.values as Uint8Array | undefined) ?? null,
    };
    const canvas = document.getElementById("picture") as HTMLCanvasElement;
    this.picture = new Picture(canvas, data);
    const tour = new TourBar(header.tour, (pose) => this.orbit.fly(pose));
    this.orbit = new Orbit(this.picture.camera, canvas, header.start, {
      onMove: () => this.picture.ask(),
      onStart: () => tour.pause(),
    });
    this.panels = new Panels(header, {
      search: (positives, negatives) => void this.search(positives, negatives),
      clear: () => this.clear(),
      threshold: (value) => this.setThreshold(value),
      mode: (mode) => void this.setMode(mode),
      isolate: (index) => {
        this.shown.isolated = index;
        this.picture.show(this.shown);
      },
      reset: () => {
        tour.pause();
        this.orbit.reset();
      },
    });
    this.things = this.listThings(thingColors);
    new Divider(header.comparison, (share) => {
      const side = this.picture.sideAt(0);
      this.picture.divide(share);
      if (this.picture.sideAt(0) !== side) this.update();
    });
    this.panels.showMode("colours", false);
    this.scorer = Scorer.open(data, this.words.compare([], []).negatives);
    onTap(canvas, (x, y) => void this.tell(x, y));
    const resize = () => {
      this.orbit.fit(window.innerWidth, window.innerHeight);
      this.picture.resize(window.innerWidth, window.innerHeight);
    };
    window.addEventListener("resize", resize);
    resize();
    this.picture.show(this.shown);
  }

  // Indices of the Gaussians that the question on screen selects, on the side of an edit that is shown.
  selected(): number[] {
    const { scores, threshold, sides } = this.shown;
    return scores ? select(scores, threshold, sides, this.picture.sideAt(0)) : [];
  }

  // Index of the Gaussian at a place of the window, both from 0 to 1; null for none.
  pick(x: number, y: number): number | null {
    return this.picture.pick(x, y);
  }

  // Position of the camera and the point that it turns about.
  pose(): number[] {
    return [...this.picture.camera.position.toArray(), ...this.orbit.controls.target.toArray()];
  }

  private listThings(colors: number[][]): ThingList {
    const root = document.getElementById("things") as HTMLDetailsElement;
    const { shown, picture } = this;
    const list: ThingList = new ThingList(root, this.data.header.things, colors, {
      hide: (id, isHidden) => {
        if (isHidden) shown.hiddenThings.add(id);
        else shown.hiddenThings.delete(id);
        picture.show(shown);
      },
      isolate: (id) => {
        shown.isolatedThing = id;
        picture.show(shown);
      },
      select: (id) => {
        shown.selectedThing = id;
        picture.show(shown);
      },
    });
    return list;
  }

  // Says what is at a place of the window, and marks its thing.
  private async tell(x: number, y: number): Promise<void> {
    const { header } = this.data;
    const row = this.picture.pick(x, y);
    const id = row === null || !this.shown.things ? 0 : this.shown.things[row];
    const thing = header.things.find((other) => other.id === id);
    if (header.things.length) this.things.select(thing ? thing.id : null);
    if (row === null) return this.panels.showPicked("");
    const parts = [thing ? describeThing(thing) : header.things.length ? "no thing" : ""];
    if (header.classes.length) {
      const label = (await this.classify())[row];
      if (label !== VOID) parts.push(`class ${header.classes[label].name}`);
    }
    if (this.shown.scores) parts.push(`${this.question} ${this.shown.scores[row].toFixed(3)}`);
    this.panels.showPicked(parts.filter(Boolean).join("; "));
  }

  private async search(positives: Word[], negatives: Word[]): Promise<void> {
    const asked = ++this.numAsked;
    const start = performance.now();
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
    if (["colours", "classes", "things"].includes(this.shown.mode)) this.shown.mode = "heat";
    this.update();
    this.times.query = performance.now() - start;
    this.times.worker = answer.milliseconds;
  }

  private clear(): void {
    this.numAsked++;
    this.question = "";
    this.shown.scores = null;
    if (!["classes", "things"].includes(this.shown.mode)) this.shown.mode = "colours";
    this.update();
  }

  private setThreshold(value: number): void {
    this.shown.threshold = value;
    this.update();
  }

  private async classify(): Promise<Uint8Array> {
    if (this.shown.labels) return this.shown.labels;
    const { classes } = this.data.header;
    const { labels } = await this.scorer!.ask({ kind: "classify", classes: classes.map((row) => row.vector) });
    this.shown.labels = labels!;
    this.panels.showLegend(classes, countLabels(labels!, classes.length, this.shown.sides));
    return labels!;
  }

  private async setMode(mode: Mode): Promise<void> {
    if (mode === "classes") await this.classify();
    // one list at a time: both do not fit
    const list = document.getElementById("things") as HTMLDetailsElement;
    if (mode === "classes" || mode === "things") list.open = mode === "things";
    this.shown.mode = mode;
    this.update();
  }

  private update(): void {
    const { scores, threshold, range, mode, sides } = this.shown;
    const isAnswer = scores !== null && mode !== "classes" && mode !== "things";
    this.panels.showMode(mode, scores !== null);
    this.panels.showThreshold(isAnswer ? threshold : null, range);
    if (mode === "classes") this.panels.say(`the best of ${this.data.header.classes.length} classes`);
    else if (mode === "things") this.panels.say(`${this.data.header.things.length} things, each in a colour of its own`);
    else if (scores) {
      const side = this.picture.sideAt(0);
      const count = countSelected(scores, threshold, sides, side);
      const total = side === BEFORE ? this.data.numBefore : this.data.header.comparison!.numAfter;
      const share = ((100 * count) / total).toFixed(1);
      this.panels.say(
        `${this.question}: ${count.toLocaleString("en")} of ${total.toLocaleString("en")} Gaussians (${share} %)`,
      );
    } else this.panels.say("");
    this.picture.show(this.shown);
  }
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
