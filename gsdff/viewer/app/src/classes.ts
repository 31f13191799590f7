// The legend with what it shows of the page: counts at once, areas when the picture stands still.

import { Legend } from "./legend";
import type { Page } from "./page";
import { countLabels } from "./selection";
import { areasOf } from "./visibility";

// Time that the camera has to rest, and Gaussians beyond which areas take too long.
const REST_MILLISECONDS = 400;
const MOST_GAUSSIANS = 400_000;

export class ClassesPanel {
  private readonly legend: Legend;
  private areas: number[] | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly page: Page) {
    const { classes } = page.data.header;
    this.legend = new Legend(classes, page.shown, () => page.changed(), (index) => void page.takeClass(index));
    page.picture.drawnHandlers.push(() => this.measureSoon());
  }

  show(): void {
    const { shown, data, side } = this.page;
    const counts = shown.labels ? countLabels(shown.labels, data.header.classes.length, shown, side) : [];
    this.legend.show(counts, this.areas);
  }

  private measureSoon(): void {
    clearTimeout(this.timer);
    if (!this.legend.isOpen || this.page.data.numGaussians > MOST_GAUSSIANS) return;
    this.timer = setTimeout(() => {
      const { shown, picture, data, side } = this.page;
      if (!shown.labels || shown.mode !== "classes") return;
      this.areas = areasOf(shown.labels, data.header.classes.length, picture.view(), picture.shapes(side));
      this.show();
    }, REST_MILLISECONDS);
  }
}
