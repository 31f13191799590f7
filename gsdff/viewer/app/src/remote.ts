// The server behind the page: vectors of any text, exact pictures while the camera rests, files saved into the run.

import { type PerspectiveCamera, Quaternion } from "three";
import { mapColor } from "./colormaps";
import type { Header } from "./data";
import { button, byId, press } from "./dom";
import type { Page } from "./page";
import type { Mode } from "./shown";
import { type Answer, type HandEdit, type Request, type Scenery, type View, Wire, bitsOf } from "./wire";

// Milliseconds without a change after which a picture is asked for, and of waiting after which the page says so.
const REST = 40;
const PATIENCE = 150;
// Least width of a coarse picture, as a share of the whole one's, that is better than the browser's own.
const LEAST_SHARE = 0.5;
// Colours of scores that the server mixes others between.
const COLORS = 9;

// Modes of the server that draw what the page's own do. Things have none.
const SAME: Partial<Record<Mode, string>> = {
  colours: "colour",
  isolate: "colour",
  hide: "colour",
  heat: "relevancy",
  classes: "classes",
};

// The camera as gsdff has it: OpenCV axes, focal lengths and principal point from the projection.
export function viewOf(camera: PerspectiveCamera, width: number, height: number): View {
  camera.updateMatrixWorld();
  const { x, y, z, w } = new Quaternion()
    .setFromRotationMatrix(camera.matrixWorld)
    .multiply(new Quaternion(1, 0, 0, 0));
  const projection = camera.projectionMatrix.elements;
  return {
    position: camera.position.toArray(),
    wxyz: [w, x, y, z],
    focal: [projection[0] / 2, projection[5] / 2],
    centre: [(1 - projection[8]) / 2, (1 + projection[9]) / 2],
    width,
    height,
  };
}

// What is on screen, as the server draws it in a mode of its own, or in the page's; null for what it cannot draw.
export function sceneryOf({ data, picture, shown, answers, editor }: Page, own: string | null): Scenery | null {
  const { header } = data;
  const { asked } = answers;
  // a question without an answer yet shows colours
  const mode = own ?? (shown.mode === "heat" && !shown.scores ? "colour" : SAME[shown.mode]);
  // what is being moved is not where it will be
  if (!mode || header.comparison || shown.moving) return null;
  const scenery: Scenery = { mode, version: header.server!.version };
  if (mode === "relevancy" && asked) {
    const [positives, negatives] = [asked.positives, asked.negatives].map((words) => words.map((word) => word.name));
    const colors = Array.from({ length: COLORS }, (_, i) => mapColor(shown.colorMap, i / (COLORS - 1)));
    scenery.question = { positives, negatives, threshold: shown.threshold, score_range: shown.range, colors };
  }
  if (mode === "classes") scenery.classes = header.classes.map((row) => row.name);
  picture.camera.updateMatrixWorld();
  scenery.hidden = bitsOf(header.numGaussians, (row) => picture.isHidden(row) || picture.isClipped(row));
  const { things, selectedThing, selected } = shown;
  if (selected || (things && selectedThing !== null)) {
    const isMarked = (row: number) => selected?.[row] === 1 || (selectedThing !== null && things?.[row] === selectedThing);
    scenery.marked = bitsOf(header.numGaussians, isMarked);
  }
  // what is deleted is hidden already
  scenery.edits = handEdits(editor.edits.filter((edit) => edit.operation !== "delete"));
  return scenery;
}

const handEdits = (edits: Page["editor"]["edits"]): HandEdit[] =>
  edits.map(({ operation, rows, color, transform }) => {
    const bits = bitsOf(rows.length, (row) => rows[row] === 1);
    return transform ? { ...transform, rows: bits } : { operation, rows: bits, color };
  });

type Taken = { answer: Answer; payload: Uint8Array<ArrayBuffer> };
// A quiet request is one that nobody waits for.
type Waiting = { resolve(taken: Taken): void; reject(error: Error): void; isQuiet: boolean };

export class Remote {
  // A mode that only the server draws, over the page's own; null for the page's.
  mode: string | null = null;
  private readonly wire: Wire;
  private readonly canvas = byId<HTMLCanvasElement>("exact");
  private readonly waiting = new Map<number, Waiting>();
  // Number of the request for a picture of what is on screen; null before it is asked for.
  private drawing: number | null = null;
  private isDrawn = true;
  private rest = 0;
  private slow = 0;
  private isOther = false;
  private isRenewing = false;
  // Told when the server has come, and when it has gone.
  readonly openHandlers: ((isOpen: boolean) => void)[] = [];

  // Null for a page from a disk, which has no server.
  static open(page: Page): Remote | null {
    return page.data.header.server ? new Remote(page, page.data.header.server) : null;
  }

  private constructor(
    private readonly page: Page,
    private readonly server: NonNullable<Header["server"]>,
  ) {
    for (const id of ["server-modes", "saves", "drawn"]) byId(id).hidden = false;
    this.listModes();
    for (const button of document.querySelectorAll<HTMLButtonElement>("#saves button")) {
      button.addEventListener("click", () => void this.save(button.value));
    }
    const { protocol, host, pathname } = window.location;
    this.wire = new Wire(`${protocol === "https:" ? "wss" : "ws"}://${host}${pathname}`, {
      answer: (answer, payload) => void this.take(answer, payload),
      open: (isOpen) => this.toggle(isOpen),
    });
    page.picture.onChange = () => this.change();
    page.answers.encode = async (words) => page.learn(words, await this.encode(words.map((word) => word.name)));
    this.change();
  }

  get isOpen(): boolean {
    return this.wire.isOpen && !this.isOther;
  }

  // Latent vectors of texts; an error has the teacher's own words.
  async encode(texts: string[]): Promise<number[][]> {
    const { answer } = await this.ask({ type: "encode", texts });
    return answer.type === "vectors" ? answer.vectors : [];
  }

  // Goes back to the page's own modes.
  leave(): void {
    this.choose(null);
  }

  // Whether the scene on screen is another one than the server's.
  get isOutdated(): boolean {
    return this.isOther;
  }

  // Does something that changes the Gaussians a little, over which the exact picture stays until there is a newer one.
  renewing(change: () => void): void {
    this.isRenewing = true;
    try {
      change();
    } finally {
      this.isRenewing = false;
    }
  }

  // Drops the exact picture, which shows something else now, and asks for another one when nothing changes any more.
  private change(): void {
    if (!this.isRenewing) {
      this.uncover();
      this.say("drawn by browser");
    }
    this.drawing = null;
    this.isDrawn = true;
    window.clearTimeout(this.rest);
    this.rest = window.setTimeout(() => this.draw(), REST);
    this.mark();
  }

  // Takes the exact picture away.
  private uncover(): void {
    this.canvas.hidden = true;
    byId("caption").hidden = false;
  }

  private draw(): void {
    const scenery = this.isOpen && !document.hidden ? sceneryOf(this.page, this.mode) : null;
    if (!scenery) return;
    this.drawing = this.wire.ask({ type: "draw", window: this.view(), scenery });
    this.isDrawn = false;
    this.mark();
  }

  private view(): View {
    const { camera, renderer } = this.page.picture;
    return viewOf(camera, renderer.domElement.width, renderer.domElement.height);
  }

  ask(request: Request, isQuiet = false): Promise<Taken> {
    if (!this.isOpen) return Promise.reject(new Error("the server is not there"));
    return new Promise((resolve, reject) => {
      this.waiting.set(this.wire.ask(request), { resolve, reject, isQuiet });
      this.mark();
    });
  }

  private async take(answer: Answer, payload: Uint8Array<ArrayBuffer>): Promise<void> {
    if (answer.type === "hello") {
      this.isOther = answer.scene !== this.server.scene;
      this.change();
      if (this.isOther) this.say("another scene is at this address now: load the page again");
      this.openHandlers.forEach((handler) => handler(true));
    } else if (answer.type === "pictured") {
      await this.show(answer, payload);
    } else if (answer.type === "failed" && answer.id === this.drawing) {
      this.isDrawn = true;
      this.uncover();
      this.say(`drawn by browser; the server cannot: ${answer.text}`);
    } else if (answer.id !== null) {
      const waiting = this.waiting.get(answer.id);
      this.waiting.delete(answer.id);
      if (answer.type === "failed") waiting?.reject(new Error(answer.text));
      else waiting?.resolve({ answer, payload });
    }
    this.mark();
  }

  private async show(answer: Answer & { type: "pictured" }, payload: Uint8Array<ArrayBuffer>): Promise<void> {
    const isBetter = answer.is_whole || this.mode !== null || answer.width >= LEAST_SHARE * this.view().width;
    if (!isBetter) return;
    const bitmap = await createImageBitmap(new Blob([payload], { type: "image/jpeg" }));
    if (answer.id !== this.drawing) return;
    this.canvas.width = answer.width;
    this.canvas.height = answer.height;
    this.canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    this.canvas.hidden = false;
    // it names what the page draws, which is covered
    byId("caption").hidden = this.mode !== null;
    this.isDrawn = answer.is_whole;
    this.say(`drawn by server: ${answer.mode}${answer.is_whole ? "" : ", coarse"}`);
  }

  private toggle(isOpen: boolean): void {
    for (const { reject } of this.waiting.values()) reject(new Error("the server has gone"));
    this.waiting.clear();
    for (const button of document.querySelectorAll<HTMLButtonElement>("#server-modes button, #saves button")) button.disabled = !isOpen;
    this.change();
    if (isOpen) return;
    this.say("drawn by browser; the server is not there");
    this.openHandlers.forEach((handler) => handler(false));
  }

  // Says what the page waits for, if it has waited for some time.
  private mark(): void {
    const isBusy = [...this.waiting.values()].some(({ isQuiet }) => !isQuiet) || !this.isDrawn;
    if (!isBusy) {
      window.clearTimeout(this.slow);
      this.slow = 0;
      byId("busy").hidden = true;
    } else if (!this.slow) {
      this.slow = window.setTimeout(() => (byId("busy").hidden = false), PATIENCE);
    }
  }

  private say(text: string): void {
    byId("drawn-by").textContent = text;
  }

  // --- controls

  private listModes(): void {
    const own = Object.values(SAME);
    const buttons = this.server.modes
      .filter((mode) => !own.includes(mode))
      .map((mode) => {
        const button = document.createElement("button");
        button.type = "button";
        button.value = button.textContent = mode;
        button.addEventListener("click", () => this.choose(this.mode === mode ? null : mode));
        return button;
      });
    if (byId("modes").hidden) buttons.unshift(this.ownMode());
    byId("server-modes").replaceChildren(...buttons);
  }

  // A page without modes of its own draws colours, and nothing else would bring them back.
  private ownMode(): HTMLButtonElement {
    const colours = button("", "colours", () => this.choose(null));
    press(colours, true);
    return colours;
  }

  private choose(mode: string | null): void {
    if (mode === this.mode) return;
    this.mode = mode;
    for (const button of document.querySelectorAll<HTMLButtonElement>("#server-modes button")) {
      button.setAttribute("aria-pressed", String(button.value === (mode ?? "")));
    }
    this.change();
  }

  private async save(kind: string): Promise<void> {
    const request = this.saving(kind);
    byId("saved").textContent = "";
    try {
      if (!request) throw new Error("the server cannot draw this");
      const { answer } = await this.ask(request);
      if (answer.type === "saved") byId("saved").textContent = `saved ${answer.path}\n${answer.hint}`;
    } catch (error) {
      byId("saved").textContent = `not saved: ${(error as Error).message}`;
    }
  }

  private saving(kind: string): Request | null {
    const { data, picture, editor } = this.page;
    if (kind === "selection") {
      // what is selected by hand, or else by the question
      const selected = editor.numSelected ? editor.selected : this.page.answer();
      return { type: "save_selection", selected: bitsOf(data.numGaussians, (row) => selected[row] === 1) };
    }
    if (kind === "edits") return { type: "save_edits", edits: handEdits(editor.edits) };
    if (kind === "hidden") {
      const rows = bitsOf(data.numGaussians, (row) => picture.isHidden(row));
      return { type: "save_edits", edits: [{ operation: "delete", rows }] };
    }
    const scenery = sceneryOf(this.page, this.mode);
    return scenery && { type: "save_picture", window: this.view(), scenery };
  }
}
