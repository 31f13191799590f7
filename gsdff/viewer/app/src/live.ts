// A scene that trains: its progress, newer Gaussians as they come, and what has to wait for the end.

import { RenewedData, type SceneData, type Server, inflateBytes } from "./data";
import { byId, element, svgElement } from "./dom";
import type { Page } from "./page";
import type { Remote } from "./remote";
import type { Training } from "./wire";

const [WIDTH, HEIGHT] = [180, 30];
const WAIT = "edits wait for the end of the training";
const HELD = "while something is selected or hidden its Gaussians stay as they are";
// What the server says when a page is out of date, and milliseconds until it is asked again after another failure.
const AGAIN = "load the page again";
const PATIENCE = 2000;
// Of the view and the question, for the page that is loaded in place of this one.
const KEY = "gsdff-view";

// A curve's points in a box, as those of a polyline; "" for fewer than two.
export function curvePoints(points: [number, number][], width: number, height: number): string {
  if (points.length < 2) return "";
  const [steps, values] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const share = (value: number, all: number[]) => {
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return high > low ? (value - low) / (high - low) : 0.5;
  };
  return points.map(([step, value]) => `${(width * share(step, steps)).toFixed(1)},${(height * (1 - share(value, values))).toFixed(1)}`).join(" ");
}

type Remembered = { scene: string; pose: number[]; positives: string[]; negatives: string[]; mode: string };

export class Live {
  private readonly first: SceneData;
  private isFollowing = false;
  private isLeaving = false;

  // Null for a scene that does not train.
  static open(page: Page, remote: Remote, enter: (text: string) => void): Live | null {
    const server = page.data.header.server!;
    recall(page, remote, enter);
    return server.isTraining ? new Live(page, remote, server) : null;
  }

  private constructor(
    private readonly page: Page,
    private readonly remote: Remote,
    private readonly server: Server,
  ) {
    this.first = page.data;
    page.editor.isFrozen = true;
    byId("training").hidden = byId("edits-wait").hidden = false;
    byId("edits-wait").textContent = `${WAIT}; ${HELD}`;
    byId("training-pause").addEventListener("click", () => void this.pause());
    page.changedHandlers.push(() => this.freeze());
    remote.openHandlers.push((isOpen) => {
      if (isOpen && remote.isOutdated) this.reload();
      else if (isOpen) void this.follow();
    });
    document.addEventListener("visibilitychange", () => void this.follow());
    this.freeze();
    void this.follow();
  }

  // Asks again and again, while there is somebody to look.
  private async follow(): Promise<void> {
    if (this.isFollowing) return;
    this.isFollowing = true;
    while (this.remote.isOpen && !document.hidden && !this.isLeaving) {
      try {
        await this.step();
      } catch (error) {
        if (!this.remote.isOpen) break;
        if ((error as Error).message.includes(AGAIN)) this.reload();
        else await new Promise((done) => setTimeout(done, PATIENCE));
      }
    }
    this.isFollowing = false;
  }

  private async step(): Promise<void> {
    const { page, server, first } = this;
    const { version } = page.data.header.server!;
    const holds = page.editor.isHolding;
    const asked = { type: "follow" as const, scene: server.scene, version, holds };
    const { answer, payload } = await this.remote.ask(asked, { isQuiet: true });
    if (answer.type !== "training") return;
    this.show(answer);
    if (answer.is_other) return this.reload();
    // what has been selected meanwhile is of the Gaussians that are here
    if (!answer.header || page.editor.isHolding) return;
    const header = { ...answer.header, server: { ...server, version: answer.version } };
    const data = new RenewedData(first, header, await inflateBytes(payload));
    const answers = await page.answers.renew(data);
    this.remote.renewing(() => page.renew(data, answers));
  }

  private show(training: Training): void {
    const lines = [...training.lines];
    if (this.page.editor.isHolding) lines.push(HELD);
    byId("training-lines").replaceChildren(...lines.map((line) => element("div", "", line)));
    byId<HTMLProgressElement>("training-share").value = training.share;
    const curves = [["loss", training.losses], ["PSNR", training.psnrs]] as const;
    byId("training-curves").replaceChildren(...curves.flatMap(([name, points]) => this.curve(name, points)));
    const pause = byId("training-pause");
    pause.textContent = training.is_paused ? "continue" : "pause";
    pause.setAttribute("aria-pressed", String(training.is_paused));
  }

  private curve(name: string, points: [number, number][]): Element[] {
    if (points.length < 2) return [];
    const value = points[points.length - 1][1];
    const svg = svgElement("svg", { viewBox: `0 -1 ${WIDTH} ${HEIGHT + 2}`, class: "curve", role: "img", "aria-label": `curve of the ${name}` });
    svg.append(svgElement("polyline", { points: curvePoints(points, WIDTH, HEIGHT) }));
    return [element("span", "quiet", `${name} ${name === "PSNR" ? `${value.toFixed(1)} dB` : value.toPrecision(3)}`), svg];
  }

  private async pause(): Promise<void> {
    const isPaused = byId("training-pause").getAttribute("aria-pressed") === "true";
    await this.remote.ask({ type: "pause", is_paused: !isPaused }).catch(() => undefined);
  }

  // Switches off what changes or saves the scene.
  private freeze(): void {
    const frozen = "#delete, #keep, #recolor, #gizmo, #save-edits, #film-save, #saves > button:not([value=picture]), .actions button, .actions input";
    for (const control of document.querySelectorAll<HTMLButtonElement | HTMLInputElement>(frozen)) {
      control.disabled = true;
      control.title = WAIT;
    }
  }

  // Loads the page again, for a scene with other parts; it looks at the same from the same place.
  private reload(): void {
    if (this.isLeaving) return;
    this.isLeaving = true;
    const { page } = this;
    const names = (words: { name: string }[] = []) => words.map((word) => word.name);
    const { asked } = page.answers;
    const kept: Remembered = {
      scene: page.data.header.title,
      pose: page.pose(),
      positives: names(asked?.positives),
      negatives: names(asked?.negatives),
      mode: page.shown.mode,
    };
    sessionStorage.setItem(KEY, JSON.stringify(kept));
    window.location.reload();
  }
}

// Looks at what the page before has remembered, once; the server has to be there for words that it encodes.
function recall(page: Page, remote: Remote, enter: (text: string) => void): void {
  const text = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  if (!text) return;
  const kept: Remembered = JSON.parse(text);
  if (kept.scene !== page.data.header.title) return;
  page.orbit.place(kept.pose);
  let isAsked = false;
  remote.openHandlers.push((isOpen) => {
    if (!isOpen || isAsked) return;
    isAsked = true;
    kept.negatives.forEach((name) => enter(`-${name}`));
    kept.positives.forEach((name, i) => enter(`${i ? "+" : ""}${name}`));
    if (kept.mode === "classes") void page.setMode("classes");
  });
}
