// The legend with what it shows of the page: counts at once, areas when the picture stands still.

import { Legend } from "./legend";
import type { Page } from "./page";
import { countLabels } from "./selection";
import type { View } from "./view";
import { areasOf } from "./visibility";

// Time that the camera has to rest, and Gaussians beyond which areas take too long.
const REST_MILLISECONDS = 400;
const MOST_GAUSSIANS = 400_000;

export class ClassesPanel {
  private readonly legend: Legend;
  private areas: number[] | null = null;
  // View that they are of.
  private measured = "";
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly page: Page) {
    const { classes } = page.data.header;
    this.legend = new Legend(classes, page.shown, () => page.changed(), (index) => void page.takeClass(index));
    page.picture.drawnHandlers.push(() => this.measureSoon());
    this.legend.root.addEventListener("toggle", () => this.measureSoon());
  }

  // Lists other classes.
  list(): void {
    this.areas = null;
    this.legend.list();
  }

  show(): void {
    const { shown, data, side } = this.page;
    // counting a million Gaussians takes longer than a threshold may
    const isShown = shown.mode === "classes" && shown.labels !== null;
    this.legend.show(isShown ? countLabels(shown.labels!, data.header.classes.length, shown, side) : null, this.areas);
  }

  // Areas are of all classes: while some are hidden those from the same view still hold, and from another there are none.
  private measureSoon(): void {
    clearTimeout(this.timer);
    const { shown, picture, data } = this.page;
    if (!this.legend.isOpen || data.numGaussians > MOST_GAUSSIANS) return;
    const isWhole = shown.isolated === null && !shown.hiddenClasses.size;
    if (!isWhole && this.areas && this.measured !== keyOf(picture.view())) {
      this.areas = null;
      this.show();
    }
    if (isWhole) this.timer = setTimeout(() => this.measure(), REST_MILLISECONDS);
  }

  private measure(): void {
    const { shown, picture, data, side } = this.page;
    if (!shown.labels || shown.mode !== "classes") return;
    const view = picture.view();
    this.areas = areasOf(shown.labels, data.header.classes.length, view, picture.shapes(side));
    this.measured = keyOf(view);
    this.show();
  }
}

const keyOf = (view: View) => [...Array.from(view.world), view.width, view.height].join();
