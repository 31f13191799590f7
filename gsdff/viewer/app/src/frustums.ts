// The photos' cameras as frustums over the picture; a click, or the arrows, look from one.

import { byId, svgElement } from "./dom";
import type { SceneData } from "./data";
import type { Page } from "./page";
import type { Pose } from "./tour";
import { type Point, type View, project } from "./view";

// Position, looking direction, up direction, vertical field of view, width by height.
const NUMBERS = 11;
const NEAR_PIXELS = 12;

export type Photo = Pose & { aspect: number };

export function readCameras(data: Pick<SceneData, "column">): Photo[] {
  const column = data.column("cameras");
  if (!column) return [];
  const { values, rows } = column;
  return Array.from({ length: rows }, (_, row) => {
    const numbers = Array.from({ length: NUMBERS }, (_, i) => values[i * rows + row]);
    const [position, forward, up] = [0, 3, 6].map((at) => numbers.slice(at, at + 3));
    return { position, forward, up, fovY: numbers[9], aspect: numbers[10] };
  });
}

const add = (...terms: [number, number[]][]) =>
  [0, 1, 2].map((axis) => terms.reduce((sum, [factor, vector]) => sum + factor * vector[axis], 0));

const cross = ([a, b, c]: number[], [d, e, f]: number[]) => [b * f - c * e, c * d - a * f, a * e - b * d];

// Ends of the lines of a frustum: from the camera to the corners of its picture, around it, and a mark at its top.
export function frustumLines({ position, forward, up, fovY, aspect }: Photo, depth: number): [number[], number[]][] {
  const half = depth * Math.tan(fovY / 2);
  const right = cross(forward, up);
  const corner = (x: number, y: number) => add([1, position], [depth, forward], [x * half * aspect, right], [y * half, up]);
  const corners = [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
  const tip = corner(0, 1.4);
  return [
    ...corners.map((end): [number[], number[]] => [position, end]),
    ...corners.map((end, i): [number[], number[]] => [end, corners[(i + 1) % 4]]),
    [corners[3], tip],
    [corners[2], tip],
  ];
}

// The frustums as one path; lines that end behind the viewer are left out.
export function frustumPath(photos: Photo[], depth: number, view: View): string {
  const lines = photos.flatMap((photo) => frustumLines(photo, depth));
  return lines
    .map((ends) => ends.map((end) => project(view, end)?.at))
    .map(([a, b]) => (a && b ? `M${a.map(Math.round).join(" ")}L${b.map(Math.round).join(" ")}` : ""))
    .join("");
}

export class Cameras {
  private readonly photos: Photo[];
  private readonly path = svgElement("path", { class: "frustums" });
  private readonly shows = byId<HTMLInputElement>("cameras-shown");
  private readonly size = byId<HTMLInputElement>("cameras-size");
  private current: number | null = null;

  constructor(
    private readonly page: Page,
    private readonly fly: (pose: Pose) => void,
  ) {
    this.photos = readCameras(page.data);
    byId("cameras").hidden = !this.photos.length;
    byId("overlay").append(this.path);
    page.picture.drawnHandlers.push(() => this.draw());
    for (const input of [this.shows, this.size]) input.addEventListener("input", () => this.draw());
    byId("camera-before").addEventListener("click", () => this.step(-1));
    byId("camera-after").addEventListener("click", () => this.step(1));
    page.gestureHandlers.push(() => this.name(null));
    this.name(null);
  }

  // Looks from the camera at a place of the window; false if there is none.
  press(at: Point): boolean {
    if (!this.shows.checked) return false;
    const view = this.page.picture.view();
    const [nearest] = this.photos
      .map((photo, index) => ({ index, found: project(view, photo.position) }))
      .filter(({ found }) => found !== null)
      .map(({ index, found }) => ({ index, pixels: Math.hypot(found!.at[0] - at[0], found!.at[1] - at[1]) }))
      .sort((a, b) => a.pixels - b.pixels);
    if (!nearest || nearest.pixels > NEAR_PIXELS) return false;
    this.look(nearest.index);
    return true;
  }

  private step(by: number): void {
    const { length } = this.photos;
    this.look(this.current === null ? (by > 0 ? 0 : length - 1) : (this.current + by + length) % length);
  }

  private look(index: number): void {
    this.fly(this.photos[index]);
    this.name(index);
  }

  private name(index: number | null): void {
    this.current = index;
    byId("camera-name").textContent = index === null ? `${this.photos.length} cameras` : `camera ${index + 1} of ${this.photos.length}`;
  }

  private draw(): void {
    const { shows, size, page } = this;
    // from within a frustum its lines would cross the picture
    const photos = this.photos.filter((_, index) => index !== this.current);
    this.path.setAttribute("d", shows.checked ? frustumPath(photos, Number(size.value), page.picture.view()) : "");
  }
}
