// The server behind the page: vectors of any text, exact pictures, files saved into the run. Pictures are drawn while the
// camera rests, over the browser's own; of a scene with too many Gaussians for a browser while it moves, too.

import { Beside } from "./beside";
import type { Header } from "./data";
import { button, byId, press } from "./dom";
import type { Page } from "./page";
import type { Progress } from "./progress";
import { SAME, sceneryOf, viewOf } from "./scenery";
import type { Mode } from "./shown";
import { type Answer, type Request, type Scenery, type View, Wire } from "./wire";

// Milliseconds without a change after which a picture is asked for, and of waiting after which the page says so.
const REST = 40;
const PATIENCE = 150;
// Least width of a coarse picture, as a share of the whole one's, that is better than the browser's own.
const LEAST_SHARE = 0.5;
export type Taken = { answer: Answer; payload: Uint8Array<ArrayBuffer> };
// A quiet request is one that nobody waits for.
type Waiting = { resolve(taken: Taken): void; reject(error: Error): void; isQuiet: boolean; more?(taken: Taken): void };

export class Remote {
  // A mode that only the server draws, over the page's own; null for the page's.
  mode: string | null = null;
  private readonly wire: Wire;
  private readonly beside: Beside;
  private readonly canvas = byId<HTMLCanvasElement>("exact");
  private readonly waiting = new Map<number, Waiting>();
  // Number of the request for a picture of what is on screen; null before it is asked for.
  private drawing: number | null = null;
  private isDrawn = true;
  // Whether a picture is asked for of which nothing has come, and whether something has changed since.
  private isAwaited = false;
  private isStale = false;
  // What the server was asked to draw last, by what it depends on.
  private sent = "";
  // Name of what the exact picture shows, and the page's mode when it was asked for.
  private drawnAs = "";
  private askedMode: Mode | undefined;
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
    for (const id of ["server-modes", "drawn", "server-draws-row"]) byId(id).hidden = false;
    this.listModes();
    this.beside = new Beside(page, server.modes, () => this.change());
    const { protocol, host, pathname } = window.location;
    this.wire = new Wire(`${protocol === "https:" ? "wss" : "ws"}://${host}${pathname}`, {
      answer: (answer, payload) => void this.take(answer, payload),
      open: (isOpen) => this.toggle(isOpen),
    }, server.most);
    page.picture.onChange = () => this.change();
    // while nobody sees the page nothing is drawn
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && (this.drawing === null || this.isStale)) this.change();
    });
    const draws = byId<HTMLInputElement>("server-draws");
    draws.checked = server.draws;
    draws.addEventListener("change", () => {
      page.picture.drawsSplats = !draws.checked;
      page.picture.ask();
    });
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

  // Drops the exact picture, which shows something else now, and asks for another one when nothing changes any more. One
  // of Gaussians that have changed a little stays meanwhile, and is called what it is.
  private change(): void {
    if (this.isRenewing && !this.canvas.hidden) this.say(`drawn by server: ${this.drawnAs}, of an earlier state`);
    if (!this.page.picture.drawsSplats) {
      this.isStale = true;
      if (!this.isAwaited) this.drawNext();
      return;
    }
    if (!this.isRenewing) {
      this.uncover();
      this.say("drawn by browser");
    }
    [this.drawing, this.isAwaited, this.isDrawn] = [null, false, true];
    window.clearTimeout(this.rest);
    this.rest = window.setTimeout(() => this.draw(), REST);
    this.mark();
  }

  // Takes the exact picture away.
  private uncover(): void {
    this.canvas.hidden = true;
    this.beside.label(null);
    byId("caption").hidden = false;
  }

  // Draws once all has changed that changes now: one picture is under way at a time, so that each is seen.
  private drawNext(): void {
    window.clearTimeout(this.rest);
    this.rest = window.setTimeout(() => this.draw(), 0);
  }

  private draw(): void {
    if (!this.isOpen || document.hidden) return;
    const { picture } = this.page;
    const [near, far] = picture.planes;
    const key = [picture.revision, near, far, this.mode, this.beside.chosen].join();
    // what lies between the planes follows the camera
    const isSame = key === this.sent && near === 0 && far === Infinity;
    const pictured = isSame ? { window: this.view() } : this.pictured();
    if (!pictured) return;
    this.sent = key;
    this.askedMode = this.page.shown.mode;
    this.drawing = this.wire.ask({ type: "draw", ...pictured });
    [this.isDrawn, this.isAwaited, this.isStale] = [false, true, false];
    this.mark();
  }

  view(): View {
    const { camera, renderer } = this.page.picture;
    return viewOf(camera, renderer.domElement.width, renderer.domElement.height);
  }

  // The answer to a request, the last one if there are several; `more` is told those before it.
  ask(request: Request, { isQuiet = false, more }: { isQuiet?: boolean; more?(taken: Taken): void } = {}): Promise<Taken> {
    if (!this.isOpen) return Promise.reject(new Error("the server is not there"));
    return new Promise((resolve, reject) => {
      this.waiting.set(this.wire.ask(request), { resolve, reject, isQuiet, more });
      this.mark();
    });
  }

  // Has something made that takes long, with a bar in place of the busy mark.
  async make(request: Request, progress: Progress): Promise<Taken> {
    progress.begin();
    const more = ({ answer }: Taken) => {
      if (answer.type === "progressed") progress.show(answer.share);
    };
    try {
      return await this.ask(request, { isQuiet: true, more });
    } finally {
      progress.end();
    }
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
      [this.isDrawn, this.sent] = [true, ""];
      this.uncover();
      this.say(`${this.page.picture.drawsSplats ? "drawn by browser; " : ""}the server cannot: ${answer.text}`);
      this.goOn();
    } else if (answer.id !== null) {
      const waiting = this.waiting.get(answer.id);
      if (answer.type === "progressed" || (answer.type === "part" && !answer.is_last)) {
        waiting?.more?.({ answer, payload });
        return;
      }
      this.waiting.delete(answer.id);
      if (answer.type === "failed") waiting?.reject(new Error(answer.text));
      else waiting?.resolve({ answer, payload });
    }
    this.mark();
  }

  private async show(answer: Answer & { type: "pictured" }, payload: Uint8Array<ArrayBuffer>): Promise<void> {
    const isBetter = answer.is_whole || this.mode !== null || answer.width >= LEAST_SHARE * this.view().width;
    if (!isBetter && this.page.picture.drawsSplats) return;
    const bitmap = await createImageBitmap(new Blob([payload], { type: "image/jpeg" }));
    if (answer.id !== this.drawing) return;
    this.goOn();
    this.canvas.width = answer.width;
    this.canvas.height = answer.height;
    this.canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    this.canvas.hidden = false;
    // it names what the page draws, which is covered
    byId("caption").hidden = this.mode !== null;
    this.isDrawn = answer.is_whole;
    this.drawnAs = this.beside.label(answer.mode, this.askedMode);
    this.say(`drawn by server: ${this.drawnAs}${answer.is_whole ? "" : ", coarse"}`);
  }

  // Asks for the next picture, if something has changed while one was made.
  private goOn(): void {
    this.isAwaited = false;
    if (this.isStale) this.drawNext();
  }

  private toggle(isOpen: boolean): void {
    [this.sent, this.isAwaited] = ["", false];
    for (const { reject } of this.waiting.values()) reject(new Error("the server has gone"));
    this.waiting.clear();
    for (const button of document.querySelectorAll<HTMLButtonElement>("#server-modes button, #saves button, .by-server")) button.disabled = !isOpen;
    this.change();
    if (isOpen) return;
    this.say(`${this.page.picture.drawsSplats ? "drawn by browser; " : ""}the server is not there`);
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
    byId("server-modes").prepend(...buttons);
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

  // The picture as it is asked for; null for what the server cannot draw.
  pictured(): { window: View; scenery: Scenery; beside?: Scenery } | null {
    const whole = sceneryOf(this.page, this.mode);
    if (!whole) return null;
    const [scenery, beside] = this.beside.halves(whole);
    return { window: this.view(), scenery, beside };
  }
}
