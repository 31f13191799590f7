// Selecting by size and opacity: limits by sliders, and how many Gaussians are between them.

import { byId, formatCount, formatLength } from "./dom";
import { OPACITY, STRIDE } from "./gaussian";
import type { Page } from "./page";
import type { Shapes } from "./pick";
import { countOf } from "./selection";

// Lowest and highest, both included; sizes are largest standard deviations.
export type Limits = { size: [number, number]; opacity: [number, number] };

export function within({ splats, largest }: Shapes, { size, opacity }: Limits, candidates: Uint8Array): Uint8Array {
  return candidates.map((is, row) => {
    const alpha = splats[row * STRIDE + OPACITY] / 255;
    const isInside = largest[row] >= size[0] && largest[row] <= size[1] && alpha >= opacity[0] && alpha <= opacity[1];
    return is && isInside ? 1 : 0;
  });
}

// Size at a share of the slider, whose steps are equal factors.
export const sizeAt = (share: number, [low, high]: [number, number]) => low * (high / low) ** share;

export class Filter {
  private readonly sliders = ["size-from", "size-to", "opacity-from", "opacity-to"].map((id) => byId<HTMLInputElement>(id));
  private readonly range: [number, number];

  constructor(private readonly page: Page) {
    const { largest } = page.picture.shapes(page.side);
    let [low, high] = [Infinity, -Infinity];
    for (const size of largest) {
      if (size < low) low = size;
      if (size > high) high = size;
    }
    this.range = [low, high];
    for (const slider of this.sliders) slider.addEventListener("input", () => this.show());
    byId("filter").addEventListener("toggle", () => this.show());
    byId("take-filter").addEventListener("click", () => page.take(this.found(), "select by size and opacity"));
  }

  show(): void {
    if (!byId<HTMLDetailsElement>("filter").open) return;
    const { size, opacity } = this.limits();
    const { factor, unit } = this.page.units;
    const shownSize = [Math.max(size[0], this.range[0]), Math.min(size[1], this.range[1])];
    byId("size-limits").textContent = `${shownSize.map((value) => formatLength(value * factor)).join(" – ")}${unit}`;
    byId("opacity-limits").textContent = opacity.map((value) => value.toFixed(2)).join(" – ");
    byId("take-filter").textContent = `select these ${formatCount(countOf(this.found()))}`;
  }

  private limits(): Limits {
    const [from, to, least, most] = this.sliders.map((slider) => Number(slider.value));
    return { size: [from <= 0 ? 0 : sizeAt(from, this.range), to >= 1 ? Infinity : sizeAt(to, this.range)], opacity: [least, most] };
  }

  private found(): Uint8Array {
    const { page } = this;
    return within(page.picture.shapes(page.side), this.limits(), page.selectable());
  }
}
