// The distance between two points that are pressed, and its scale to a distance that is known.

import { byId, formatLength, svgElement } from "./dom";
import type { Page } from "./page";
import { project } from "./view";

export const distance = (a: number[], b: number[]) => Math.hypot(...a.map((value, i) => value - b[i]));

export class Measure {
  private points: number[][] = [];
  private readonly line = svgElement("path", { class: "measure" });
  private readonly label = svgElement("text", { class: "measure-label" });
  private readonly known = byId<HTMLInputElement>("known-distance");
  private readonly unit = byId<HTMLInputElement>("known-unit");

  constructor(private readonly page: Page) {
    byId("overlay").append(this.line, this.label);
    page.picture.drawnHandlers.push(() => this.draw());
    for (const input of [this.known, this.unit]) input.addEventListener("change", () => this.scale());
    byId("measure-clear").addEventListener("click", () => this.clear());
    this.show();
  }

  // Takes a place of the window, both from 0 to 1; the third begins anew.
  press(x: number, y: number): void {
    const met = this.page.picture.pick(x, y);
    if (!met) return;
    if (this.points.length === 2) this.points = [];
    this.points.push(met.point);
    this.show();
  }

  // Forgets the points; false if there are none.
  clear(): boolean {
    const was = this.points.length > 0;
    this.points = [];
    this.show();
    return was;
  }

  // In working units; null without two points.
  get length(): number | null {
    return this.points.length === 2 ? distance(this.points[0], this.points[1]) : null;
  }

  private scale(): void {
    const known = Number(this.known.value);
    if (this.length && known > 0) this.page.setUnits(known / this.length, ` ${this.unit.value.trim()}`.trimEnd());
    this.show();
  }

  private show(): void {
    const { length } = this;
    byId("measured").textContent =
      length !== null
        ? this.text(length)
        : this.points.length
          ? "press the second point"
          : "press two points of the scene";
    byId("known-row").hidden = length === null;
    byId("measure-clear").hidden = !this.points.length;
    this.draw();
  }

  private text(length: number): string {
    const { factor, unit } = this.page.units;
    return `${formatLength(length * factor)}${unit}`;
  }

  private draw(): void {
    const view = this.page.picture.view();
    const ends = this.points.map((point) => project(view, point)?.at).filter((at) => at !== undefined);
    const dots = ends.map(([x, y]) => `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`).join("");
    const isWhole = ends.length === 2;
    this.line.setAttribute("d", isWhole ? `${dots}M${ends.map(([x, y]) => `${x} ${y}`).join("L")}` : dots);
    this.label.textContent = isWhole ? this.text(this.length!) : "";
    if (!isWhole) return;
    this.label.setAttribute("x", String((ends[0][0] + ends[1][0]) / 2 + 8));
    this.label.setAttribute("y", String((ends[0][1] + ends[1][1]) / 2 - 8));
  }
}
