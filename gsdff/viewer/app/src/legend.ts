// The legend of the classes: an overlay that folds, a row each with colour, name, area and an eye.

import type { Header } from "./data";
import { byId, colorInput, element, button, formatCount, press } from "./dom";
import { EYE } from "./things";
import type { Shown } from "./shown";

const NARROW = 600;

export class Legend {
  readonly root = byId<HTMLDetailsElement>("legend");
  private readonly rows = new Map<number, HTMLElement>();

  constructor(
    private readonly classes: Header["classes"],
    private readonly shown: Shown,
    private readonly changed: () => void,
    private readonly select: (index: number) => void,
  ) {
    // on a phone it would cover the subject
    this.root.open = window.innerWidth > NARROW;
    this.list();
  }

  // Lists the classes that there are now.
  list(): void {
    const { shown, changed, select } = this;
    const list = this.root.querySelector(".rows")!;
    this.rows.clear();
    list.replaceChildren();
    this.classes.forEach(({ name, color }, index) => {
      const row = element("div", "class");
      const swatch = colorInput(color, `colour of ${name}`, (chosen) => {
        shown.classColors = shown.classColors.map((old, i) => (i === index ? chosen : old));
        changed();
      });
      const alone = button("name", name, () => this.isolate(index), `show ${name} alone`);
      const eye = button("eye", "", () => this.toggle(index), `hide ${name}`);
      eye.innerHTML = EYE;
      row.append(eye, swatch, alone, element("span", "count"), button("take", "select", () => select(index), `select ${name}`));
      this.rows.set(index, row);
      list.append(row);
    });
  }

  get isOpen(): boolean {
    return !this.root.hidden && this.root.open;
  }

  // Shows the rows, the largest first, or without counts nothing; areas are shares of the picture, null while not known.
  show(counts: number[] | null, areas: number[] | null): void {
    const { shown } = this;
    this.root.hidden = counts === null;
    if (!counts) return;
    this.root.querySelector("summary")!.textContent = `${this.classes.length} classes`;
    const order = [...this.rows.keys()].sort((a, b) => (areas ? areas[b] - areas[a] : 0) || counts[b] - counts[a]);
    for (const [place, index] of order.entries()) {
      const row = this.rows.get(index)!;
      row.style.order = String(place);
      const count = row.querySelector<HTMLElement>(".count")!;
      count.textContent = areas ? `${(100 * areas[index]).toFixed(1)} %` : formatCount(counts[index]);
      count.title = `${formatCount(counts[index])} Gaussians${areas ? "; share of the picture" : ""}`;
      press(row.querySelector(".name")!, shown.isolated === index);
      press(row.querySelector(".eye")!, shown.hiddenClasses.has(index));
      row.classList.toggle("gone", shown.isolated === null ? shown.hiddenClasses.has(index) : shown.isolated !== index);
    }
  }

  private isolate(index: number): void {
    this.shown.isolated = this.shown.isolated === index ? null : index;
    this.changed();
  }

  private toggle(index: number): void {
    const { hiddenClasses } = this.shown;
    if (!hiddenClasses.delete(index)) hiddenClasses.add(index);
    this.changed();
  }
}
