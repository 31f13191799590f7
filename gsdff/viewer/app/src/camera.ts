// Orbit by mouse and touch, from the view that the file starts with.

import type { PerspectiveCamera } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Start } from "./data";

// Vertical field of view that shows at least the photo's: a narrow window takes its width as the measure.
export function fovFor(start: Start, aspect: number, photoAspect = 4 / 3): number {
  const half = Math.tan(start.fovY / 2);
  const wanted = aspect < photoAspect ? half * Math.min(photoAspect / aspect, 1.6) : half;
  return (2 * Math.atan(wanted) * 180) / Math.PI;
}

// Share of a narrow window's height by which the picture is moved up, away from the panel at its foot.
const LIFT = 0.15;
const NARROW = 600;

export class Orbit {
  readonly controls: OrbitControls;

  constructor(
    readonly camera: PerspectiveCamera,
    element: HTMLElement,
    readonly start: Start,
    onMove: () => void,
  ) {
    camera.up.fromArray(start.up);
    this.controls = new OrbitControls(camera, element);
    this.controls.enableDamping = false;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", onMove);
    this.reset();
  }

  reset(): void {
    this.camera.position.fromArray(this.start.position);
    this.controls.target.fromArray(this.start.target);
    this.controls.update();
  }

  fit(width: number, height: number): void {
    this.camera.aspect = width / height;
    this.camera.fov = fovFor(this.start, this.camera.aspect);
    if (width <= NARROW && height > width) this.camera.setViewOffset(width, height, 0, LIFT * height, width, height);
    else this.camera.clearViewOffset();
    this.camera.updateProjectionMatrix();
  }
}
