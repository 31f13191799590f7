// A film along views that are kept: the server makes it, and the page flies it to see.

import { byId } from "./dom";
import type { Page } from "./page";
import { Progress } from "./progress";
import type { Remote } from "./remote";
import type { SavePanel } from "./save_panel";
import { sceneryOf } from "./scenery";
import { poseAt } from "./tour";
import type { View } from "./wire";

const [LEAST, MOST] = [2, 200];

export class FilmPanel {
  private readonly views: View[] = [];
  private readonly seconds = byId<HTMLInputElement>("film-seconds");
  private flight = 0;
  private isMaking = false;
  private readonly progress = new Progress("film");

  constructor(
    private readonly page: Page,
    private readonly remote: Remote,
    private readonly saves: SavePanel,
  ) {
    byId("film").hidden = false;
    const press = (id: string, act: () => void) => byId(id).addEventListener("click", act);
    press("film-add", () => this.add());
    press("film-remove", () => {
      this.views.pop();
      this.show();
    });
    press("film-play", () => void (this.flight ? this.land() : this.play()));
    press("film-save", () => void this.make());
    press("film-stop", () => void remote.ask({ type: "stop" }).catch(() => undefined));
    page.gestureHandlers.push(() => this.land());
    remote.openHandlers.push(() => this.show());
    this.show();
  }

  private add(): void {
    if (this.views.length < MOST) this.views.push(this.remote.view());
    this.show();
  }

  private get length(): number {
    return Math.min(Math.max(Number(this.seconds.value) || 1, 0.5), 300);
  }

  private async play(): Promise<void> {
    try {
      const { answer } = await this.remote.ask({ type: "fly", keyframes: this.views, seconds: this.length });
      if (answer.type === "flown") this.fly(answer);
    } catch (error) {
      this.say((error as Error).message);
    }
  }

  // Looks from along the flight, from its first picture on.
  private fly(tour: { seconds: number; frames: number[][] }): void {
    const begun = performance.now();
    const step = (now: number) => {
      const time = Math.max(now - begun, 0) / 1000;
      this.page.orbit.fly(poseAt(tour, time));
      if (time < tour.seconds) this.flight = requestAnimationFrame(step);
      else this.land();
    };
    this.flight = requestAnimationFrame(step);
    this.show();
  }

  private land(): void {
    if (!this.flight) return;
    cancelAnimationFrame(this.flight);
    this.flight = 0;
    this.show();
  }

  private async make(): Promise<void> {
    const scenery = sceneryOf(this.page, this.remote.mode);
    this.isMaking = true;
    this.say("");
    this.show();
    try {
      if (!scenery) throw new Error("the server cannot draw this");
      const request = { type: "save_film" as const, keyframes: this.views, seconds: this.length, scenery };
      const { answer } = await this.remote.make(request, this.progress);
      if (answer.type === "saved") this.saves.offer(byId("film-said"), answer);
    } catch (error) {
      this.say(`no film: ${(error as Error).message}`);
    } finally {
      this.isMaking = false;
      this.show();
    }
  }

  private say(text: string): void {
    byId("film-said").textContent = text;
  }

  private show(): void {
    const { length } = this.views;
    const views = `${length} view${length === 1 ? "" : "s"}`;
    byId("film-count").textContent = length < LEAST ? `${views} of ${LEAST}` : views;
    byId("film-hint").hidden = length >= LEAST;
    const has = { "film-remove": length > 0, "film-play": length >= LEAST, "film-save": length >= LEAST && !this.isMaking };
    for (const [id, is] of Object.entries(has)) byId<HTMLButtonElement>(id).disabled = !is || !this.remote.isOpen;
    byId("film-play").textContent = this.flight ? "stop the flight" : "fly";
    byId("film-stop").hidden = !this.isMaking;
  }
}
