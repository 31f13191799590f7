// What the server knows of places: what is like what is there, and selections that grow, shrink or are cleaned.

import { byId } from "./dom";
import type { Page } from "./page";
import type { Remote } from "./remote";
import { sceneryOf } from "./scenery";
import { type View, bitsOf, rowsOfBits } from "./wire";

export class ByPlace {
  private pressed: { window: View; place: number[] } | null = null;

  constructor(
    private readonly page: Page,
    private readonly remote: Remote,
  ) {
    byId("modify").hidden = false;
    for (const made of document.querySelectorAll<HTMLButtonElement>("#modify button")) {
      made.addEventListener("click", () => void this.modify(made.value, made.textContent!));
    }
    byId("similar").addEventListener("click", () => void this.findSimilar());
  }

  // Keeps a place that was pressed, to find what is like it.
  press(x: number, y: number): void {
    const isSomething = this.page.data.header.words.length > 0 && this.page.pick(x, y) !== null;
    this.pressed = isSomething ? { window: this.remote.view(), place: [x, y] } : null;
    byId("similar").hidden = !isSomething;
  }

  private async findSimilar(): Promise<void> {
    const { page, pressed, remote } = this;
    const scenery = sceneryOf(page, "colour");
    if (!pressed || !scenery) return;
    try {
      const { answer, payload } = await remote.ask({ type: "find_similar", ...pressed, scenery });
      if (answer.type !== "scored") return;
      const scores = new Float32Array(payload.slice().buffer);
      if (scores.length !== page.data.numGaussians) throw new Error("the training has gone on since; press again");
      remote.leave();
      page.answers.takeLikeness(answer.latents, { scores, threshold: answer.threshold, range: answer.score_range });
    } catch (error) {
      page.answers.clear((error as Error).message);
    }
  }

  private async modify(how: string, name: string): Promise<void> {
    const { editor, data } = this.page;
    const count = data.numGaussians;
    const there = this.page.selectable();
    const selected = bitsOf(count, (row) => editor.selected[row] === 1);
    const hidden = bitsOf(count, (row) => !there[row]);
    try {
      const { version } = data.header.server!;
      const { answer, payload } = await this.remote.ask({ type: "modify", selected, hidden, how, version });
      if (answer.type === "selected" && data === this.page.data) editor.select(rowsOfBits(payload, count), "new", name);
      byId("modify-problem").textContent = "";
    } catch (error) {
      byId("modify-problem").textContent = (error as Error).message;
    }
  }
}
