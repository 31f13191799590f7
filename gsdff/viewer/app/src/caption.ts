// What is on screen, in words: the mode, the question, and all that is hidden or changed by hand.

import { byId, formatCount } from "./dom";
import type { Header } from "./data";
import type { Shown } from "./shown";
import { thingName } from "./things";

export type Named = {
  question: string;
  pending: string;
  numDeleted: number;
  numSelected: number;
  numHidden: number;
};

export function captionOf(shown: Shown, header: Pick<Header, "classes" | "things">, named: Named): string[] {
  const { mode, threshold } = shown;
  const { question, pending } = named;
  const nameOf = (id: number) => {
    const thing = header.things.find((other) => other.id === id);
    return thing ? thingName(thing, header.things) : "no thing";
  };
  const answer = `relevancy of “${question}” from ${threshold.toFixed(3)}`;
  const first = {
    colours: "colours",
    heat: `heat: ${answer}`,
    isolate: `only “${question}”: ${answer}`,
    hide: `without “${question}”: ${answer}`,
    classes: `best of ${header.classes.length} classes`,
    things: `${header.things.length} things`,
  }[mode];
  const parts = [first];
  if (mode === "classes" && shown.isolated !== null) parts.push(`only ${header.classes[shown.isolated].name}`);
  else if (mode === "classes" && shown.hiddenClasses.size) parts.push(`${shown.hiddenClasses.size} classes hidden`);
  if (shown.isolatedThing !== null) parts.push(`only ${nameOf(shown.isolatedThing)}`);
  else if (shown.hiddenThings.size) parts.push(`without ${[...shown.hiddenThings].map(nameOf).join(", ")}`);
  if (shown.selectedThing !== null) parts.push(`${nameOf(shown.selectedThing)} marked`);
  if (named.numHidden) parts.push(`${formatCount(named.numHidden)} hidden`);
  if (named.numDeleted) parts.push(`${formatCount(named.numDeleted)} deleted`);
  if (named.numSelected) parts.push(`${formatCount(named.numSelected)} selected`);
  if (pending) parts.push(`searching for “${pending}” …`);
  return parts;
}

// Shows it; a picture of the question before is marked while the next is computed, if that takes long enough to see.
const BUSY_MILLISECONDS = 150;

export class Caption {
  private timer: ReturnType<typeof setTimeout> | undefined;

  show(parts: string[], isPending: boolean): void {
    byId("caption").replaceChildren(
      ...parts.map((text) => Object.assign(document.createElement("span"), { textContent: text })),
    );
    clearTimeout(this.timer);
    const mark = () => byId("picture").classList.toggle("stale", isPending);
    if (isPending) this.timer = setTimeout(mark, BUSY_MILLISECONDS);
    else mark();
  }
}
