// Classes that the user names: the server encodes them, and legend and picture follow.

import type { ClassesPanel } from "./classes";
import { byId } from "./dom";
import type { Page } from "./page";
import type { Remote } from "./remote";
import { fold } from "./words";

const MOST = 254;

export const splitNames = (text: string) => [...new Set(text.split(",").map(fold).filter(Boolean))];

export class OwnClasses {
  private readonly box = byId<HTMLInputElement>("class-names");

  constructor(
    private readonly page: Page,
    private readonly remote: Remote,
    private readonly panel: ClassesPanel,
  ) {
    const { header } = page.data;
    // without words there is nothing that encodes names
    byId("own-classes").hidden = !header.words.length;
    this.box.value = header.classes.map((row) => row.name).join(", ");
    byId("own-classes").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.name(splitNames(this.box.value));
    });
  }

  private async name(names: string[]): Promise<void> {
    const { page, remote } = this;
    const said = byId("class-problem");
    said.textContent = "";
    try {
      if (names.length < 2 || names.length > MOST) throw new Error(`expected 2 to ${MOST} names with commas between them`);
      const { answer } = await remote.ask({ type: "name_classes", names });
      if (answer.type !== "named_classes") return;
      const words = names.map((name) => ({ name, vector: null as number | null }));
      page.learn(words, answer.vectors);
      page.setClasses(words.map(({ name, vector }, i) => ({ name, vector: vector!, color: answer.colors[i] })));
      this.panel.list();
      byId("mode-classes").hidden = byId("modes").hidden = false;
      remote.leave();
      await page.setMode("classes");
    } catch (error) {
      said.textContent = (error as Error).message;
    }
  }
}
