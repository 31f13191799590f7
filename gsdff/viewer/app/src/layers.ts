// The list of things with what it does to the page.

import { byId } from "./dom";
import type { Page } from "./page";
import { ThingList } from "./things";

export class ThingsPanel {
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
    const counts = new Map<number, number>();
    const { things, sides, deleted } = shown;
    things!.forEach((id: number, row: number) => {
      if (deleted?.[row] || (sides && !(sides[row] & side))) return;
      counts.set(id, (counts.get(id) ?? 0) + 1);
    });
    this.list.show(counts);
  }

  // Says what is at a place of the window, and marks its thing.
  async tell(x: number, y: number, say: (text: string) => void): Promise<void> {
    const { text, thing } = await this.page.describe(x, y);
    if (this.page.data.header.things.length) this.list.mark(thing || null);
    say(text);
  }
}
