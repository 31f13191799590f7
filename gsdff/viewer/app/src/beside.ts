// The right half of the exact picture, if it shows something else: another mode, or the scene after the edits.

import { byId } from "./dom";
import type { Page } from "./page";
import { nameOf, sceneryOf } from "./scenery";
import type { Mode } from "./shown";
import type { Scenery } from "./wire";

const NOTHING = "one picture";
const EDITS = "before | after";

export class Beside {
  private readonly choice = byId<HTMLSelectElement>("beside");

  // What has been chosen for the right half.
  get chosen(): string {
    return this.choice.value;
  }

  constructor(
    private readonly page: Page,
    modes: string[],
    changed: () => void,
  ) {
    this.choice.append(new Option(NOTHING, NOTHING), new Option(EDITS, EDITS), ...modes.map((name) => new Option(`… | ${nameOf(name)}`, name)));
    this.choice.addEventListener("change", changed);
  }

  // What the left half shows, where the whole would show a scenery, and the right half; undefined for no halves.
  halves(whole: Scenery): [Scenery, Scenery | undefined] {
    const { value } = this.choice;
    if (value === NOTHING) return [whole, undefined];
    if (value === EDITS) return [{ ...whole, hidden: "", edits: [] }, whole];
    return [whole, sceneryOf(this.page, value)!];
  }

  // Names the halves of a picture in a mode, null for a picture without halves; gives the name of the whole. `own` is the
  // page's mode when the picture was asked for.
  label(mode: string | null, own?: Mode): string {
    const { value } = this.choice;
    const isWhole = mode === null || value === NOTHING;
    const whole = mode === null ? "" : nameOf(mode, own);
    const [left, right] = value === EDITS ? ["before the edits", "after"] : [whole, nameOf(value)];
    for (const [id, text] of [["half-left", left], ["half-right", right]]) {
      byId(id).hidden = isWhole;
      byId(id).textContent = text;
    }
    return isWhole ? whole : `${left} | ${right}`;
  }
}
