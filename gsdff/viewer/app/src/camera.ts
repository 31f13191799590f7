// Orbit by mouse and touch, from the view that the file starts with.

import { type PerspectiveCamera, Vector3 } from "three";
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

export class Orbit {
  readonly controls: OrbitControls;
  private isFlying = false;
  private fovY: number;
  private size: [number, number] = [1, 1];

  constructor(
    readonly camera: PerspectiveCamera,
    element: HTMLElement,
    readonly start: Start,
    private readonly on: { onMove(): void; onStart(): void },
  ) {
    camera.up.fromArray(start.up);
    this.fovY = start.fovY;
    this.controls = new OrbitControls(camera, element);
    this.controls.enableDamping = false;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", () => on.onMove());
    this.controls.addEventListener("start", () => {
      on.onStart();
      this.land();
    });
    this.reset();
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
    this.camera.up.fromArray(start.up);
  }

  reset(): void {
    this.isFlying = false;
    this.fovY = this.start.fovY;
    this.adapt();
    this.camera.up.fromArray(this.start.up);
    this.camera.position.fromArray(this.start.position);
    this.controls.target.fromArray(this.start.target);
    this.controls.update();
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
