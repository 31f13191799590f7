// Orbit by mouse and touch, from the view that the file starts with.

import { MOUSE, type PerspectiveCamera, TOUCH, Vector3 } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Start } from "./data";
import type { Pose } from "./tour";

// Vertical field of view that shows at least the photo's: a narrow window takes its width as the measure.
export function fovFor(fovY: number, aspect: number, photoAspect = 4 / 3): number {
  const half = Math.tan(fovY / 2);
  const wanted = aspect < photoAspect ? half * Math.min(photoAspect / aspect, 1.6) : half;
  return (2 * Math.atan(wanted) * 180) / Math.PI;
}

// Share of a narrow window's height by which the picture is moved up, away from the panel at its foot.
const LIFT = 0.15;
const NARROW = 600;
const LEAST_RADIUS = 0.01;
// Cosine between a view and the vertical beyond which nothing turns, and the height from which it looks then.
const STEEPEST = 0.97;
const HEIGHT = 0.4;

export class Orbit {
  controls: OrbitControls;
  private isFlying = false;
  private isFree = true;
  private up: number[];
  private fovY: number;
  private size: [number, number] = [1, 1];

  constructor(
    readonly camera: PerspectiveCamera,
    private readonly element: HTMLElement,
    readonly start: Start,
    private readonly on: { onMove(): void; onStart(): void },
  ) {
    camera.up.fromArray(start.up);
    this.fovY = start.fovY;
    this.up = start.up;
    this.controls = this.makeControls();
    this.reset();
  }

  private makeControls(): OrbitControls {
    const controls = new OrbitControls(this.camera, this.element);
    controls.enableDamping = false;
    controls.zoomToCursor = true;
    controls.addEventListener("change", () => this.on.onMove());
    controls.addEventListener("start", () => {
      this.on.onStart();
      this.land();
    });
    return controls;
  }

  // Turns the scene so that a direction is up, and keeps it so.
  turnUp(up: number[]): void {
    this.land();
    const target = this.controls.target.clone();
    this.up = up;
    this.camera.up.fromArray(up);
    // the controls take the axis when they are made
    this.controls.dispose();
    this.controls = this.makeControls();
    this.controls.target.copy(target);
    this.free(this.isFree);
    this.standAside();
    this.controls.update();
    this.on.onMove();
  }

  // Looks from the side where the view would be along the axis that is up.
  private standAside(): void {
    const up = this.camera.up.clone().normalize();
    const away = this.camera.position.clone().sub(this.controls.target);
    const distance = away.length();
    if (Math.abs(away.dot(up)) < STEEPEST * distance) return;
    const side = new Vector3(up.y, up.z, up.x).cross(up);
    this.camera.position.copy(this.controls.target);
    this.camera.position.addScaledVector(side.addScaledVector(up, HEIGHT).normalize(), distance);
  }

  // Whether one finger, or the first button, turns the scene; otherwise the middle button does.
  free(isFree: boolean): void {
    this.isFree = isFree;
    this.controls.mouseButtons.LEFT = isFree ? MOUSE.ROTATE : null;
    this.controls.mouseButtons.MIDDLE = isFree ? MOUSE.DOLLY : MOUSE.ROTATE;
    this.controls.touches.ONE = isFree ? TOUCH.ROTATE : null;
  }

  // Looks from a pose of a flight; the next gesture takes over from there.
  fly(pose: Pose): void {
    this.isFlying = true;
    this.camera.position.fromArray(pose.position);
    this.camera.up.fromArray(pose.up);
    this.camera.lookAt(this.camera.position.clone().add(new Vector3().fromArray(pose.forward)));
    this.fovY = pose.fovY;
    this.adapt();
    this.on.onMove();
  }

  private land(): void {
    if (!this.isFlying) return;
    this.isFlying = false;
    const { start } = this;
    const distance = new Vector3().fromArray(start.target).distanceTo(new Vector3().fromArray(start.position));
    const forward = this.camera.getWorldDirection(new Vector3());
    this.controls.target.copy(this.camera.position).addScaledVector(forward, distance);
    this.camera.up.fromArray(this.up);
  }

  reset(): void {
    this.isFlying = false;
    this.fovY = this.start.fovY;
    this.adapt();
    this.camera.up.fromArray(this.up);
    this.camera.position.fromArray(this.start.position);
    this.controls.target.fromArray(this.start.target);
    this.standAside();
    this.controls.update();
  }

  // Looks from a position at a point, as `Page.pose` gives them.
  place(pose: number[]): void {
    this.land();
    this.camera.position.fromArray(pose);
    this.controls.target.fromArray(pose, 3);
    this.controls.update();
    this.on.onMove();
  }

  // Looks at a ball from the side where the camera is, as near as it fits into the window.
  frame(centre: number[], radius: number): void {
    this.land();
    const middle = new Vector3().fromArray(centre);
    const away = this.camera.position.clone().sub(middle);
    if (away.lengthSq() < 1e-12) away.copy(this.camera.getWorldDirection(new Vector3())).negate();
    const half = (this.camera.fov * Math.PI) / 360;
    const narrow = Math.min(half, Math.atan(Math.tan(half) * this.camera.aspect));
    this.controls.target.copy(middle);
    this.camera.position.copy(middle).addScaledVector(away.normalize(), Math.max(radius, LEAST_RADIUS) / Math.sin(narrow));
    this.controls.update();
    this.on.onMove();
  }

  fit(width: number, height: number): void {
    this.size = [width, height];
    this.adapt();
  }

  private adapt(): void {
    const [width, height] = this.size;
    this.camera.aspect = width / height;
    this.camera.fov = fovFor(this.fovY, this.camera.aspect);
    if (width <= NARROW && height > width) this.camera.setViewOffset(width, height, 0, LIFT * height, width, height);
    else this.camera.clearViewOffset();
    this.camera.updateProjectionMatrix();
  }
}
