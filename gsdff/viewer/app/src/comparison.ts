// Before | after of an edit: a line over the picture that is dragged, and buttons for either side alone.

import type { Comparison } from "./data";

const LEAST = 0.02;
const STEP = 0.05;

const byId = (id: string) => document.getElementById(id)!;

export class Divider {
  private readonly line = byId("divider");
  share = 0.5;

  constructor(
    comparison: Comparison | null,
    private readonly divide: (share: number) => void,
  ) {
    byId("comparison").hidden = comparison === null;
    if (!comparison) return;
    byId("edits").replaceChildren(
      ...comparison.edits.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
    );
    this.line.addEventListener("pointerdown", (event) => this.line.setPointerCapture(event.pointerId));
    this.line.addEventListener("pointermove", (event) => {
      if (this.line.hasPointerCapture(event.pointerId)) this.move(event.clientX / window.innerWidth);
    });
    this.line.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
      if (step) this.move(this.share + step);
    });
    for (const button of document.querySelectorAll<HTMLButtonElement>("#sides button")) {
      button.addEventListener("click", () => this.choose(button.value));
    }
    this.choose("both");
  }

  private choose(side: string): void {
    for (const button of document.querySelectorAll<HTMLButtonElement>("#sides button")) {
      button.setAttribute("aria-pressed", String(button.value === side));
    }
    byId("divided").hidden = side !== "both";
    if (side === "both") this.move(this.share);
    else this.divide(side === "before" ? 1 : 0);
  }

  private move(share: number): void {
    this.share = Math.min(Math.max(share, LEAST), 1 - LEAST);
    byId("divided").style.setProperty("--at", `${100 * this.share}%`);
    this.line.setAttribute("aria-valuenow", String(Math.round(100 * this.share)));
    this.divide(this.share);
  }
}
