// The things as layers: a row each with an eye, a lock, its colour, name and count; the marked one has what is done to it.

import type { Thing } from "./data";
import { button, colorInput, element, formatCount, press } from "./dom";
import type { Shown } from "./shown";

// Drawn, as few fonts have them.
const svg = (inside: string) => `<svg viewBox="0 0 18 14" aria-hidden="true">${inside}</svg>`;
export const EYE = svg('<path d="M1 7q8-10 16 0q-8 10-16 0z"/><circle cx="9" cy="7" r="2.5"/>');
const LOCK = svg('<rect x="4" y="6" width="10" height="7" rx="1"/><path d="M6 6V4a3 3 0 0 1 6 0v2"/>');

export type ThingHandlers = {
  changed(): void;
  select(id: number): void;
  delete(id: number): void;
  recolor(id: number, color: number[]): void;
};

type Named = Pick<Thing, "id" | "name">;

// What a thing is called among others; of several with one name by its number too, which `thing:12` searches for.
export function thingName({ id, name }: Named, things: readonly Named[]): string {
  if (name === null) return `thing ${id}`;
  return things.some((other) => other.name === name && other.id !== id) ? `${name} ${id}` : name;
}

export function describeThing(thing: Thing): string {
  const score = thing.score === null ? "" : `, cosine ${thing.score.toFixed(2)}`;
  const size = thing.size.map((side) => Number(side.toPrecision(2))).join(" × ");
  return `thing ${thing.id}: ${thing.name ?? "no name"}${score}, ${formatCount(thing.count)} Gaussians, ${size}`;
}

export class ThingList {
  private readonly rows = new Map<number, HTMLElement>();

  constructor(
    root: HTMLElement,
    private readonly things: Thing[],
    private readonly shown: Shown,
    // Things whose Gaussians are not selected by hand.
    private readonly locked: Set<number>,
    private readonly handlers: ThingHandlers,
  ) {
    for (const thing of things) {
      const row = this.makeRow(thing);
      this.rows.set(thing.id, row);
      root.append(row);
    }
  }

  // Marks a thing, or none, and brings its row into view.
  mark(id: number | null): void {
    this.shown.selectedThing = id;
    this.handlers.changed();
    if (id !== null) this.rows.get(id)?.scrollIntoView({ block: "nearest" });
  }

  // The rows as things are now; `counts` are the Gaussians that are left of each, by number.
  show(counts: Uint32Array): void {
    const { shown, locked } = this;
    this.rows.forEach((row, id) => {
      const set = (kind: string, is: boolean) => press(row.querySelector(`.${kind}`)!, is);
      set("eye", shown.hiddenThings.has(id));
      set("lock", locked.has(id));
      set("name", shown.selectedThing === id);
      set("alone", shown.isolatedThing === id);
      const left = counts[id];
      row.querySelector(".count")!.textContent = formatCount(left);
      row.querySelector<HTMLElement>(".actions")!.hidden = shown.selectedThing !== id;
      const isGone = shown.isolatedThing === null ? shown.hiddenThings.has(id) : shown.isolatedThing !== id;
      row.classList.toggle("gone", isGone || !left);
    });
  }

  private makeRow(thing: Thing): HTMLElement {
    const { shown, locked, handlers } = this;
    const { id } = thing;
    const name = thingName(thing, this.things);
    const row = element("div", "thing");
    row.dataset.id = String(id);
    row.title = describeThing(thing);
    const toggle = (set: Set<number>) => () => {
      if (!set.delete(id)) set.add(id);
      handlers.changed();
    };
    const eye = button("eye", "", toggle(shown.hiddenThings), `hide ${name}`);
    eye.innerHTML = EYE;
    const lock = button("lock", "", toggle(locked), `lock ${name}: it is not selected by hand`);
    lock.innerHTML = LOCK;
    const swatch = colorInput(shown.thingColors[id], `colour of ${name} among the things`, (color) => {
      shown.thingColors = shown.thingColors.map((old, i) => (i === id ? color : old));
      handlers.changed();
    });
    const mark = button("name", name, () => this.mark(shown.selectedThing === id ? null : id), `mark ${name}`);
    const alone = () => {
      shown.isolatedThing = shown.isolatedThing === id ? null : id;
      handlers.changed();
    };
    const actions = element("div", "actions");
    const recolor = colorInput(thing.color, `recolour ${name}`, (color) => handlers.recolor(id, color));
    const label = element("label", "recolor", "recolour ");
    label.append(recolor);
    actions.append(
      button("take", "select", () => handlers.select(id), `select ${name}`),
      label,
      button("delete", "delete", () => handlers.delete(id), `delete ${name}`),
    );
    row.append(eye, lock, swatch, mark, element("span", "count"), button("alone", "only", alone, `show ${name} alone`), actions);
    return row;
  }
}
