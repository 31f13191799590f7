// The list of things with what it does to the page.

import { byId } from "./dom";
import type { Page } from "./page";
import type { Shown, Side } from "./shown";
import { ThingList } from "./things";

// Gaussians that are left of every thing, and what they were counted of.
type Counted = { deleted: Shown["deleted"]; side: Side; counts: Uint32Array };

export class ThingsPanel {
  private counted: Counted | null = null;
  private readonly list: ThingList;

  constructor(private readonly page: Page) {
    const { header } = page.data;
    this.list = new ThingList(byId("tab-things"), header.things, page.shown, page.locked, {
      changed: () => page.changed(),
      select: (id) => page.take(page.thing(id), `select thing ${id}`),
      delete: (id) => void page.editor.delete(page.thing(id)),
      recolor: (id, color) => page.editor.recolor(color, page.thing(id)),
    });
  }

  show(): void {
    const { shown, data, side } = this.page;
    if (!data.header.things.length) return;
    // counting a million Gaussians takes longer than a threshold may
    if (this.counted?.deleted !== shown.deleted || this.counted.side !== side) this.counted = this.count();
    this.list.show(this.counted.counts);
  }

  private count(): Counted {
    const { shown, side } = this.page;
    const { things, sides, deleted, thingColors } = shown;
    const counts = new Uint32Array(thingColors.length);
    for (let row = 0; row < things!.length; row++) {
      if (!deleted?.[row] && (!sides || sides[row] & side)) counts[things![row]]++;
    }
    return { deleted, side, counts };
  }

  // Says what is at a place of the window, and marks its thing.
  async tell(x: number, y: number, say: (text: string) => void): Promise<void> {
    const { text, thing } = await this.page.describe(x, y);
    if (this.page.data.header.things.length) this.list.mark(thing || null);
    say(text);
  }
}
