// The list of things: a row each with its colour, an eye, its name, its size and a button that shows it alone.

import type { Thing } from "./data";

// Drawn, as few fonts have an eye.
const EYE = '<svg viewBox="0 0 18 14"><path d="M1 7q8-10 16 0q-8 10-16 0z"/><circle cx="9" cy="7" r="2.5"/></svg>';

export type ThingHandlers = {
  hide(id: number, isHidden: boolean): void;
  isolate(id: number | null): void;
  select(id: number | null): void;
};

export const thingName = (thing: Thing) => thing.name ?? `thing ${thing.id}`;

export function describeThing(thing: Thing): string {
  const score = thing.score === null ? "" : `, cosine ${thing.score.toFixed(2)}`;
  const size = thing.size.map((side) => Number(side.toPrecision(2))).join(" × ");
  return `thing ${thing.id}: ${thing.name ?? "no name"}${score}, ${thing.count.toLocaleString("en")} Gaussians, ${size}`;
}

export class ThingList {
  readonly hidden = new Set<number>();
  isolated: number | null = null;
  selected: number | null = null;
  private readonly rows = new Map<number, HTMLElement>();

  constructor(
    private readonly root: HTMLDetailsElement,
    things: Thing[],
    colors: number[][],
    private readonly handlers: ThingHandlers,
  ) {
    root.hidden = !things.length;
    root.querySelector("summary")!.textContent = `${things.length} thing${things.length === 1 ? "" : "s"}`;
    const list = root.querySelector(".rows")!;
    for (const thing of things) {
      const row = this.makeRow(thing, colors[thing.id]);
      this.rows.set(thing.id, row);
      list.append(row);
    }
  }

  // Marks a thing, or none; its row is brought into view.
  select(id: number | null): void {
    this.selected = id;
    this.update();
    if (id !== null && this.root.open) this.rows.get(id)?.scrollIntoView({ block: "nearest" });
    this.handlers.select(id);
  }

  private makeRow(thing: Thing, color: number[]): HTMLElement {
    const row = document.createElement("div");
    row.className = "thing";
    row.dataset.id = String(thing.id);
    row.title = describeThing(thing);
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${color.map((value) => Math.round(255 * value)).join(",")})`;
    const count = document.createElement("span");
    count.className = "count";
    count.textContent = thing.count.toLocaleString("en");
    const { id } = thing;
    const eye = this.button("eye", "", `hide ${thingName(thing)}`, () => {
      if (!this.hidden.delete(id)) this.hidden.add(id);
      this.handlers.hide(id, this.hidden.has(id));
    });
    eye.innerHTML = EYE;
    const name = this.button("name", thingName(thing), `mark ${thingName(thing)}`, () =>
      this.select(this.selected === id ? null : id),
    );
    const alone = this.button("alone", "only", `show ${thingName(thing)} alone`, () => {
      this.isolated = this.isolated === id ? null : id;
      this.handlers.isolate(this.isolated);
    });
    row.append(eye, swatch, name, count, alone);
    return row;
  }

  private button(kind: string, text: string, label: string, press: () => void): HTMLButtonElement {
    const button = document.createElement("button");
    button.type = "button";
    button.className = kind;
    button.textContent = text;
    button.setAttribute("aria-label", label);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      press();
      this.update();
    });
    return button;
  }

  private update(): void {
    this.rows.forEach((row, id) => {
      const press = (kind: string, is: boolean) => row.querySelector(`.${kind}`)!.setAttribute("aria-pressed", String(is));
      press("eye", this.hidden.has(id));
      press("name", this.selected === id);
      press("alone", this.isolated === id);
      row.classList.toggle("gone", this.isolated === null ? this.hidden.has(id) : this.isolated !== id);
    });
  }
}
