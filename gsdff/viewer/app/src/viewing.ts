// How the scene is looked at: colour map, up axis, near and far planes, and how fast it is drawn.

import { COLOR_MAPS } from "./colormaps";
import { byId, formatCount, formatLength } from "./dom";
import type { Page } from "./page";
import { FARTHEST, NEAREST } from "./picture";

const AXES: Record<string, number[]> = {
  "+x": [1, 0, 0], "−x": [-1, 0, 0], "+y": [0, 1, 0], "−y": [0, -1, 0], "+z": [0, 0, 1], "−z": [0, 0, -1],
};
// Pictures further apart were not of one movement.
const PAUSE = 500;
const MOST_TIMES = 30;
// Distances of the planes at both ends of their sliders, in working units: cameras are about one from the middle.
const [NEAR, FAR] = [[0.01, 10], [0.1, 100]];
const LEAST_GAP = 1.01;

// Distance at a share of a slider, whose steps are equal factors.
export const distanceAt = (share: number, [low, high]: number[]) => low * (high / low) ** share;

// Frames per second of the last pictures of one movement; null for fewer than two.
export class Frames {
  private times: number[] = [];

  drawn(now: number): number | null {
    const last = this.times[this.times.length - 1];
    if (last !== undefined && now - last > PAUSE) this.times = [];
    this.times.push(now);
    if (this.times.length > MOST_TIMES) this.times.shift();
    const { times } = this;
    return times.length < 2 ? null : (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]);
  }
}

export class Viewing {
  private readonly frames = new Frames();
  private readonly map = byId<HTMLSelectElement>("color-map");
  private readonly up = byId<HTMLSelectElement>("up-axis");

  constructor(page: Page) {
    const option = (name: string) => new Option(name, name);
    this.map.append(...COLOR_MAPS.map(option));
    this.map.addEventListener("change", () => {
      page.shown.colorMap = this.map.value;
      page.changed();
    });
    byId("color-map-row").hidden = !page.data.header.words.length;
    // without photos it is how COLMAP's cameras stand
    this.up.append(option(page.data.column("cameras") ? "as the photos" : "as it came"), ...Object.keys(AXES).map(option));
    this.up.addEventListener("change", () => page.orbit.turnUp(AXES[this.up.value] ?? page.data.header.start.up));
    const planes = [byId<HTMLInputElement>("near-plane"), byId<HTMLInputElement>("far-plane")];
    for (const slider of planes) {
      slider.addEventListener("input", () => {
        this.clip(page, planes);
        this.showPlanes(page);
      });
    }
    page.changedHandlers.push(() => this.showPlanes(page));
    byId("speed").textContent = `${formatCount(page.data.numGaussians)} Gaussians`;
    page.picture.drawnHandlers.push(() => {
      const rate = this.frames.drawn(performance.now());
      const count = formatCount(page.data.numGaussians);
      byId("speed").textContent = `${count} Gaussians${rate === null ? "" : ` · ${rate.toFixed(rate < 10 ? 1 : 0)} frames per second`}`;
    });
  }

  // A slider at its outer end cuts nothing off.
  private clip(page: Page, [near, far]: HTMLInputElement[]): void {
    const [from, to] = [Number(near.value), Number(far.value)];
    const before = from > 0 ? distanceAt(from, NEAR) : NEAREST;
    const behind = to < 1 ? distanceAt(to, FAR) : FARTHEST;
    page.picture.clip(before, Math.max(behind, before * LEAST_GAP));
  }

  private showPlanes({ picture, units }: Page): void {
    picture.planes.forEach((distance, i) => {
      const isNone = distance === 0 || distance === Infinity;
      byId(i ? "far-value" : "near-value").textContent = isNone ? "none" : `${formatLength(distance * units.factor)}${units.unit}`;
    });
  }
}
