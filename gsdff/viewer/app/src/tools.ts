// The tools that select by hand: a shape is drawn over the picture and becomes a region.

import { byId, svgElement } from "./dom";
import type { Region } from "./regions";
import type { How } from "./selection";
import type { Point } from "./view";

export const TOOLS = ["move", "box", "lasso", "brush", "sphere", "measure"] as const;
export type Tool = (typeof TOOLS)[number];

// Pixels between points of a drawn line, and a shape too small to be meant.
const STEP = 3;
const LEAST = 3;
const [SMALLEST_BRUSH, LARGEST_BRUSH] = [4, 200];

export type ToolHandlers = {
  take(region: Region, how: How | null): void;
  // Middle of a sphere under a place of the window and the pixels of a length of one there; null where nothing is.
  hit(at: Point): { centre: number[]; pixels: number } | null;
  changed(tool: Tool): void;
};

// How a held key joins what is drawn; null leaves it to the panel.
export function howOf(event: Pick<MouseEvent, "shiftKey" | "ctrlKey" | "metaKey">): How | null {
  const isCtrl = event.ctrlKey || event.metaKey;
  if (event.shiftKey) return isCtrl ? "intersect" : "add";
  return isCtrl ? "subtract" : null;
}

const draws = (tool: Tool) => tool !== "move" && tool !== "measure";

export class Tools {
  tool: Tool = "move";
  radius = 28;
  private readonly shape = svgElement("path", { class: "shape" });
  private readonly cursor = svgElement("circle", { class: "cursor" });
  private region: Region | null = null;
  private pixels = 1;
  private pointer: Point = [0, 0];

  constructor(
    private readonly canvas: HTMLElement,
    private readonly handlers: ToolHandlers,
  ) {
    byId("overlay").append(this.shape, this.cursor);
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("pointerleave", () => this.cursor.setAttribute("r", "0"));
  }

  choose(tool: Tool): void {
    this.cancel();
    this.tool = this.tool === tool ? "move" : tool;
    this.canvas.style.cursor = draws(this.tool) || this.tool === "measure" ? "crosshair" : "";
    this.draw();
    this.handlers.changed(this.tool);
  }

  // Whether a drag selects, and does not turn the scene.
  get isDrawing(): boolean {
    return draws(this.tool);
  }

  resize(radius: number): void {
    this.radius = Math.min(Math.max(Math.round(radius), SMALLEST_BRUSH), LARGEST_BRUSH);
    this.draw();
    this.handlers.changed(this.tool);
  }

  // Forgets a shape that is being drawn; false if there is none.
  cancel(): boolean {
    const was = this.region !== null;
    this.region = null;
    this.draw();
    return was;
  }

  private start(event: PointerEvent): void {
    // a second finger moves the scene
    if (!event.isPrimary) return void this.cancel();
    if (event.button !== 0 || !this.isDrawing) return;
    const at: Point = [event.clientX, event.clientY];
    if (this.tool === "box") this.region = { kind: "box", from: at, to: at };
    else if (this.tool === "lasso") this.region = { kind: "lasso", points: [at] };
    else if (this.tool === "brush") this.region = { kind: "brush", points: [at], radius: this.radius };
    else {
      const hit = this.handlers.hit(at);
      if (!hit) return;
      this.pixels = hit.pixels;
      this.region = { kind: "sphere", centre: hit.centre, radius: 0 };
    }
    this.pointer = at;
    this.canvas.setPointerCapture(event.pointerId);
    this.draw();
  }

  private move(event: PointerEvent): void {
    const at: Point = [event.clientX, event.clientY];
    const { region } = this;
    if (!region) {
      if (this.tool === "brush" && event.pointerType === "mouse") this.pointer = at;
      return this.draw();
    }
    if (!event.isPrimary) return;
    if (region.kind === "box") region.to = at;
    else if (region.kind === "sphere") {
      region.radius = Math.hypot(at[0] - this.pointer[0], at[1] - this.pointer[1]) / this.pixels;
    } else {
      const last = region.points[region.points.length - 1];
      if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= STEP) region.points.push(at);
    }
    if (region.kind !== "sphere") this.pointer = at;
    this.draw();
  }

  private end(event: PointerEvent): void {
    const { region } = this;
    if (!region || !event.isPrimary) return;
    this.cancel();
    if (isMeant(region, this.pixels)) this.handlers.take(region, howOf(event));
  }

  private draw(): void {
    const { region, pointer, radius } = this;
    this.shape.setAttribute("d", region ? outline(region, pointer, this.pixels) : "");
    this.shape.setAttribute("class", region?.kind === "brush" ? "shape stroke" : "shape");
    this.shape.setAttribute("stroke-width", region?.kind === "brush" ? String(2 * radius) : "1.5");
    this.cursor.setAttribute("cx", String(pointer[0]));
    this.cursor.setAttribute("cy", String(pointer[1]));
    this.cursor.setAttribute("r", this.tool === "brush" ? String(radius) : "0");
  }
}

// A dab of the brush is meant, a shape of a few pixels is not.
function isMeant(region: Region, pixels: number): boolean {
  if (region.kind === "brush") return true;
  if (region.kind === "lasso") return region.points.length > 2;
  if (region.kind === "sphere") return region.radius * pixels > LEAST;
  return Math.abs(region.to[0] - region.from[0]) > LEAST && Math.abs(region.to[1] - region.from[1]) > LEAST;
}

function outline(region: Region, pointer: Point, pixels: number): string {
  if (region.kind === "sphere") {
    const [x, y, r] = [...pointer, region.radius * pixels];
    return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
  }
  if (region.kind === "box") {
    const [[x, y], [right, bottom]] = [region.from, region.to];
    return `M${x} ${y}H${right}V${bottom}H${x}Z`;
  }
  const line = region.points.map(([x, y]) => `${x} ${y}`).join("L");
  // a dab is a line without length
  return region.kind === "lasso" ? `M${line}Z` : `M${line}${region.points.length > 1 ? "" : "h0.01"}`;
}
