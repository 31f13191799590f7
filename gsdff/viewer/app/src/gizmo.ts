// Handles over the picture that move, turn and scale what is selected: arrows, rings, a square and the middle.

import { byId, formatLength, press, svgElement } from "./dom";
import type { Page } from "./page";
import type { Ray } from "./pick";
import { medianOf } from "./statistics";
import type { Transform } from "./transform";
import { type Point, type View, pixelsPerUnit, project } from "./view";

export type Handle = { kind: "move"; axis: number } | { kind: "rotate"; axis: number } | { kind: "free" } | { kind: "scale" };

const AXES = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
const NAMES = ["x", "y", "z"];
// Pixels from the middle: of a ring, and of both ends of the part of an arrow that is held.
const RING = 62;
const ARROW: [number, number] = [74, 104];
const SQUARE: Point = [70, -70];
const [SIDE, DOT] = [9, 8];
const SEGMENTS = 48;
// Handles that are seen too much from their end, or their edge, have no use.
const LEAST_ARROW = 14;
const LEAST_TILT = 0.2;
const SNAP_DEGREES = 15;
const [SMALLEST, LARGEST] = [0.01, 100];

const dot = (a: number[], b: number[]) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a: number[], b: number[]) => a.map((value, i) => value - b[i]);
const along = (from: number[], by: number, direction: number[]) => from.map((value, i) => value + by * direction[i]);

// Length along a line from `centre` to the point nearest to a ray.
export function nearestOnAxis(centre: number[], axis: number[], { origin, direction }: Ray): number {
  const between = minus(centre, origin);
  const cosine = dot(axis, direction);
  return (cosine * dot(direction, between) - dot(axis, between)) / Math.max(1 - cosine * cosine, 1e-9);
}

// Where a ray meets the plane through `centre`; null if it runs along it or away from it.
export function onPlane(centre: number[], normal: number[], { origin, direction }: Ray): number[] | null {
  const depth = dot(normal, minus(centre, origin)) / dot(normal, direction);
  return depth > 0 && Number.isFinite(depth) ? along(origin, depth, direction) : null;
}

// Degrees by which a ring about an axis is turned from one ray to another; null off its plane.
export function turnedBy(centre: number[], axis: number, from: Ray, to: Ray): number | null {
  const [u, v] = [AXES[(axis + 1) % 3], AXES[(axis + 2) % 3]];
  const angles = [from, to].map((ray) => {
    const at = onPlane(centre, AXES[axis], ray);
    return at && Math.atan2(dot(minus(at, centre), v), dot(minus(at, centre), u));
  });
  if (angles[0] === null || angles[1] === null) return null;
  const degrees = ((angles[1] - angles[0]) * 180) / Math.PI;
  return ((degrees + 540) % 360) - 180;
}

type Held = { handle: Handle; centre: number[]; start: { at: Point; ray: Ray }; transform: Transform | null };

export class Gizmo {
  isOn = false;
  private held: Held | null = null;
  private readonly group = svgElement("g", { id: "handles" });
  private readonly label = svgElement("text", { class: "measure-label" });
  private readonly parts: { handle: Handle; seen: SVGElement; hit: SVGElement }[] = [];
  // Middle of the selection, and what it was found for.
  private centre: { of: unknown[]; at: number[] | null } = { of: [], at: null };
  // Steps that wait for the next frame: every one places all that is selected.
  private next: Transform | null = null;

  constructor(private readonly page: Page) {
    const handles: Handle[] = [
      ...[0, 1, 2].map((axis): Handle => ({ kind: "rotate", axis })),
      ...[0, 1, 2].map((axis): Handle => ({ kind: "move", axis })),
      { kind: "scale" },
      { kind: "free" },
    ];
    for (const handle of handles) this.add(handle);
    this.group.append(this.label);
    // browsers heed touch-action of a whole drawing, not of its lines
    this.group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    byId("overlay").append(this.group);
    byId("gizmo").addEventListener("click", () => this.toggle());
    page.picture.drawnHandlers.push(() => this.draw());
    page.changedHandlers.push(() => this.draw());
  }

  toggle(): void {
    this.cancel();
    this.isOn = !this.isOn;
    press(byId("gizmo"), this.isOn);
    this.draw();
  }

  // Lets go of a handle, as if it had not been held; false if none is.
  cancel(): boolean {
    if (!this.held) return false;
    this.held = this.next = null;
    this.page.editor.preview(null);
    return true;
  }

  private add(handle: Handle): void {
    const color = "axis" in handle ? NAMES[handle.axis] : handle.kind;
    const seen = svgElement("path", { class: `handle ${color}` });
    const hit = svgElement("path", { class: "grip" });
    hit.dataset.handle = "axis" in handle ? `${handle.kind}-${color}` : handle.kind;
    hit.addEventListener("pointerdown", (event) => this.start(handle, event));
    hit.addEventListener("pointermove", (event) => this.move(event));
    hit.addEventListener("pointerup", () => this.end());
    hit.addEventListener("pointercancel", () => this.cancel());
    this.parts.push({ handle, seen, hit });
    this.group.append(seen, hit);
  }

  private start(handle: Handle, event: PointerEvent): void {
    const centre = this.find();
    if (!centre || this.held || event.button !== 0) return;
    event.preventDefault();
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    const at: Point = [event.clientX, event.clientY];
    this.held = { handle, centre, start: { at, ray: this.ray(at) }, transform: null };
    this.draw();
  }

  private move(event: PointerEvent): void {
    if (!this.held) return;
    const transform = this.transformTo([event.clientX, event.clientY], event.shiftKey);
    if (!transform) return;
    this.held.transform = transform;
    if (!this.next) {
      requestAnimationFrame(() => {
        if (this.next) this.page.editor.preview(this.next);
        this.next = null;
      });
    }
    this.next = transform;
  }

  private end(): void {
    const { held } = this;
    if (!held) return;
    this.held = this.next = null;
    if (held.transform) this.page.editor.transform(held.transform);
    else this.draw();
  }

  private transformTo(at: Point, snaps: boolean): Transform | null {
    const { handle, centre, start } = this.held!;
    const ray = this.ray(at);
    if (handle.kind === "move") {
      const axis = AXES[handle.axis];
      const length = nearestOnAxis(centre, axis, ray) - nearestOnAxis(centre, axis, start.ray);
      return { operation: "move", translation: axis.map((value) => (value ? length : 0)) };
    }
    if (handle.kind === "rotate") {
      const degrees = turnedBy(centre, handle.axis, start.ray, ray);
      if (degrees === null) return null;
      const rounded = snaps ? SNAP_DEGREES * Math.round(degrees / SNAP_DEGREES) : degrees;
      return { operation: "rotate", axis: AXES[handle.axis], degrees: rounded, centre };
    }
    const view = this.page.picture.view();
    if (handle.kind === "scale") {
      const middle = project(view, centre)?.at;
      if (!middle) return null;
      const [before, now] = [start.at, at].map(([x, y]) => Math.hypot(x - middle[0], y - middle[1]));
      return { operation: "scale", factor: Math.min(Math.max(now / Math.max(before, 1), SMALLEST), LARGEST), centre };
    }
    const [from, to] = [start.ray, ray].map((one) => onPlane(centre, forwardOf(view), one));
    return from && to && { operation: "move", translation: minus(to, from) };
  }

  private ray([x, y]: Point): Ray {
    return this.page.picture.ray(x / innerWidth, y / innerHeight);
  }

  // Middle of most of the selection; null for none.
  private find(): number[] | null {
    const { editor, shown, picture } = this.page;
    const of = [editor.selected, shown.moves];
    if (of.some((value, i) => value !== this.centre.of[i])) {
      this.centre = { of, at: medianOf(editor.selected, picture.positions) };
    }
    return this.centre.at;
  }

  private draw(): void {
    const { held } = this;
    const centre = this.isOn ? (held?.centre ?? this.find()) : null;
    const view = this.page.picture.view();
    const middle = centre && project(view, centre);
    this.group.style.display = middle ? "" : "none";
    if (!middle) return;
    for (const { handle, seen, hit } of this.parts) {
      const isOther = held !== null && held.handle !== handle;
      const path = isOther ? "" : outline(handle, centre, view);
      seen.setAttribute("d", path);
      hit.setAttribute("d", path);
    }
    this.label.textContent = held?.transform ? this.describe(held.transform) : "";
    this.label.setAttribute("x", String(middle.at[0] + 14));
    this.label.setAttribute("y", String(middle.at[1] - 14));
  }

  private describe(transform: Transform): string {
    const { factor, unit } = this.page.units;
    if (transform.operation === "move") return `${formatLength(Math.hypot(...transform.translation) * factor)}${unit}`;
    return transform.operation === "rotate" ? `${transform.degrees.toFixed(1)}°` : `× ${transform.factor.toFixed(2)}`;
  }
}

// Direction in which the camera looks.
const forwardOf = ({ world }: View) => [-world[2], -world[6], -world[10]];

// A handle as it is seen, as a path; empty where it has no use.
export function outline(handle: Handle, centre: number[], view: View): string {
  const { at: [x, y], depth } = project(view, centre)!;
  const unit = 1 / pixelsPerUnit(view, depth);
  const ends = (lengths: number[], axis: number) => lengths.map((length) => project(view, along(centre, length * unit, AXES[axis]))?.at);
  if (handle.kind === "free") return circle([x, y], DOT);
  if (handle.kind === "scale") {
    const [a, b] = [x + SQUARE[0], y + SQUARE[1]];
    return `M${a - SIDE} ${b - SIDE}h${2 * SIDE}v${2 * SIDE}h${-2 * SIDE}Z`;
  }
  if (handle.kind === "move") {
    const [from, to] = ends(ARROW, handle.axis);
    if (!from || !to) return "";
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy);
    if (length < LEAST_ARROW) return "";
    const [u, v] = [(8 * dx) / length, (8 * dy) / length];
    const head = `M${to[0] - u - 0.6 * v} ${to[1] - v + 0.6 * u}L${to[0]} ${to[1]}L${to[0] - u + 0.6 * v} ${to[1] - v - 0.6 * u}`;
    return `M${from.join(" ")}L${to.join(" ")}${head}`;
  }
  const towards = minus(centre, eyeOf(view));
  if (Math.abs(dot(AXES[handle.axis], towards)) < LEAST_TILT * Math.hypot(...towards)) return "";
  const [p, q] = [AXES[(handle.axis + 1) % 3], AXES[(handle.axis + 2) % 3]];
  const points = Array.from({ length: SEGMENTS }, (_, i) => {
    const angle = (2 * Math.PI * i) / SEGMENTS;
    return project(view, along(along(centre, RING * unit * Math.cos(angle), p), RING * unit * Math.sin(angle), q))?.at;
  });
  return points.every((point) => point !== undefined) ? `M${points.map((point) => point.join(" ")).join("L")}Z` : "";
}

// Position of the camera.
function eyeOf({ world: W }: View): number[] {
  return [0, 1, 2].map((axis) => -(W[4 * axis] * W[12] + W[4 * axis + 1] * W[13] + W[4 * axis + 2] * W[14]));
}

const circle = ([x, y]: Point, radius: number) => `M${x - radius} ${y}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
