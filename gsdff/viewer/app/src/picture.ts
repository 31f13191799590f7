// Draws the splats with Spark; a new picture only when something has changed.

import { PackedSplats, SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import * as THREE from "three";
import { type SceneData, rowsOf } from "./data";
import { byId } from "./dom";
import { OPACITY, STRIDE, largestScales, positionsOf, scaleTable } from "./gaussian";
import { Harmonics } from "./harmonics";
import { isFlat, paint } from "./paint";
import { Placing } from "./placing";
import { type Ray, type Shapes, pick } from "./pick";
import { AFTER, BEFORE, type Shown, type Side } from "./shown";
import type { View } from "./view";

// Spark's textures: whole rows, and whole layers if there is more than one.
const TEXTURE_WIDTH = 2048;
const MOST_ROWS = 2048;
const LARGEST_RATIO = 2;
// Planes of the camera that cut nothing off, in working units.
export const [NEAREST, FARTHEST] = [0.01, 1000];

// The splats in Spark's layout, as they are stored.
type Stored = {
  original: Uint8Array;
  numGaussians: number;
  harmonics: Harmonics;
  splatEncoding: Record<string, number>;
};

function unpackScene(data: SceneData): Stored {
  const { header } = data;
  const { values, rows, columns } = data.column("splats")!;
  const layer = TEXTURE_WIDTH * Math.min(MOST_ROWS, Math.max(1, Math.ceil(rows / TEXTURE_WIDTH)));
  const capacity = layer * Math.max(1, Math.ceil(rows / layer));
  const harmonics = new Harmonics(data, capacity);
  const splatEncoding = {
    rgbMin: header.colorRange[0],
    rgbMax: header.colorRange[1],
    lnScaleMin: header.logScaleRange[0],
    lnScaleMax: header.logScaleRange[1],
    ...harmonics.steps,
  };
  return { original: rowsOf(values as Uint8Array, rows, columns, capacity), numGaussians: rows, harmonics, splatEncoding };
}

// One picture of the scene, in colours of its own: all there is without an edit, before it or after it.
class Scene {
  // The Gaussians as they are drawn, a copy of those that are stored.
  drawn: Uint8Array;
  // Of Spark, from the first picture on: a server may draw all of them.
  private mesh: SplatMesh | null = null;
  private scene: THREE.Scene | null = null;
  private isFlat = false;

  constructor(
    private readonly renderer: THREE.WebGLRenderer,
    private stored: Stored,
    readonly side: Side,
    private readonly isAntialiased: boolean,
    private readonly ask: () => void,
  ) {
    this.drawn = stored.original.slice();
  }

  private open(): THREE.Scene {
    const { renderer, isAntialiased } = this;
    // as gsdff draws: sorted by depth, three standard deviations, blurred by 0.3 of a pixel's square
    const spark = new SparkRenderer({
      renderer,
      onDirty: this.ask,
      sortRadial: false,
      maxStdDev: 3,
      preBlurAmount: isAntialiased ? 0 : 0.3,
      blurAmount: isAntialiased ? 0.3 : 0,
    });
    return new THREE.Scene().add(spark, this.addMesh());
  }

  private addMesh(): SplatMesh {
    const { numGaussians, harmonics, splatEncoding } = this.stored;
    const packedArray = new Uint32Array(this.drawn.buffer);
    // each has textures of its own, of the same words
    const extra = { ...harmonics.words };
    const packedSplats = new PackedSplats({ packedArray, numSplats: numGaussians, extra, splatEncoding });
    // a mesh that is told no encoding gives its splats the default one
    this.mesh = new SplatMesh({ packedSplats, splatEncoding });
    this.setBands(this.isFlat);
    return this.mesh;
  }

  // Takes places, sizes and turns of Gaussians that have been moved.
  move(rows: Uint8Array): void {
    const { original } = this.stored;
    for (let row = 0; row < rows.length; row++) {
      if (!rows[row]) continue;
      const at = row * STRIDE;
      for (let i = OPACITY + 1; i < STRIDE; i++) this.drawn[at + i] = original[at + i];
    }
  }

  // Shows other Gaussians.
  replace(stored: Stored): void {
    this.stored = stored;
    this.drawn = stored.original.slice();
    if (!this.mesh) return;
    this.scene!.remove(this.mesh);
    this.mesh.dispose();
    this.scene!.add(this.addMesh());
  }

  // Shows the harmonics as they are now.
  showHarmonics(): void {
    for (const [name, texture] of Object.entries(this.mesh?.packedSplats?.extra ?? {})) {
      if (name.endsWith("Texture")) (texture as { value: THREE.Texture }).value.needsUpdate = true;
    }
  }

  show(shown: Shown, colorRange: [number, number]): void {
    const { original, numGaussians } = this.stored;
    paint(original, this.drawn, STRIDE, numGaussians, shown, { colorRange, side: this.side });
    this.isFlat = isFlat(shown.mode);
    this.setBands(this.isFlat);
  }

  // Draws with all harmonics, or with colours that are the same from all sides.
  private setBands(isFlat: boolean): void {
    const { mesh } = this;
    if (!mesh) return;
    mesh.maxSh = isFlat ? 0 : 3;
    mesh.packedSplats!.setMaxSh(mesh.maxSh);
    mesh.packedSplats!.needsUpdate = true;
    mesh.updateVersion();
  }

  draw(camera: THREE.Camera): void {
    this.scene ??= this.open();
    this.renderer.render(this.scene, camera);
  }
}

export class Picture {
  readonly camera = new THREE.PerspectiveCamera(50, 1, NEAREST, FARTHEST);
  readonly renderer: THREE.WebGLRenderer;
  // Middles of the Gaussians.
  positions!: Float32Array;
  // Share of the width, from the left, that shows the scene before its edit.
  divider = 1;
  // Whether splats are drawn here; a server draws them otherwise.
  drawsSplats: boolean;
  // Number of times that what is shown has changed, apart from the camera.
  revision = 0;
  // Told after every picture: what lies over it follows.
  readonly drawnHandlers: (() => void)[] = [];
  private stored!: Stored;
  private scales!: Float64Array;
  private largest!: Float32Array;
  private placing!: Placing;
  private readonly scenes: Partial<Record<Side, Scene>> = {};
  private shown: Shown | null = null;
  private isAsked = false;

  constructor(
    canvas: HTMLCanvasElement,
    public data: SceneData,
  ) {
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false });
    this.drawsSplats = !data.header.server?.draws;
    this.replace(data);
  }

  // Takes over other Gaussians, which are drawn when they are shown.
  replace(data: SceneData): void {
    this.data = data;
    this.stored = unpackScene(data);
    const { original, numGaussians } = this.stored;
    this.positions = positionsOf(original, numGaussians);
    this.scales = scaleTable(data.header.logScaleRange);
    this.largest = largestScales(original, numGaussians, this.scales);
    this.placing = new Placing(original, this.positions, this.largest, data.header.logScaleRange);
    for (const scene of Object.values(this.scenes)) scene.replace(this.stored);
  }

  // Side of an edit that is at a place of the window, from 0 at the left to 1.
  sideAt(x: number): Side {
    return x <= this.divider && this.divider > 0 ? BEFORE : AFTER;
  }

  divide(share: number): void {
    this.divider = share;
    this.ask();
  }

  // Called whenever something else is to be drawn.
  onChange: () => void = () => undefined;

  // Draws something else soon.
  ask(): void {
    this.onChange();
    this.redraw();
  }

  // Draws soon, once for all that asked: the same once more, if only its splats have been sorted.
  private redraw(): void {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.draw();
      for (const handler of this.drawnHandlers) handler();
    });
  }

  resize(width: number, height: number): void {
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, LARGEST_RATIO));
    this.renderer.setSize(width, height, false);
    this.ask();
  }

  show(shown: Shown): void {
    this.shown = shown;
    this.revision++;
    const { moves, moving } = shown;
    const moved = this.placing.place(moving ? [...moves, moving] : moves);
    // turning them takes too long for every step of a drag
    const isRetinted = !moving && this.stored.harmonics.show(shown.tinted, shown.tints, moves);
    for (const scene of Object.values(this.scenes)) {
      if (moved) scene.move(moved);
      if (isRetinted) scene.showHarmonics();
      scene.show(shown, this.data.header.colorRange);
    }
    this.ask();
  }

  // Whether a Gaussian that could be seen is not drawn, at the left of the window.
  isHidden(row: number): boolean {
    const alpha = STRIDE * row + OPACITY;
    return this.scene(this.sideAt(0)).drawn[alpha] === 0 && this.stored.original[alpha] > 0;
  }

  // Gaussian and depth under a place of the window, of those that are drawn; null where nothing is.
  pick(x: number, y: number): { row: number; depth: number; point: number[] } | null {
    const ray = this.ray(x, y);
    const cosine = this.camera.getWorldDirection(new THREE.Vector3()).dot(new THREE.Vector3().fromArray(ray.direction));
    const met = pick(this.shapes(this.sideAt(x)), ray, this.planes.map((depth) => depth / cosine) as [number, number]);
    return met && { ...met, point: ray.origin.map((value, axis) => value + met.depth * ray.direction[axis]) };
  }

  // Draws what is between two depths alone.
  clip(near: number, far: number): void {
    [this.camera.near, this.camera.far] = [near, far];
    this.camera.updateProjectionMatrix();
    this.ask();
  }

  // Depths between which Gaussians are drawn, as the planes have been set.
  get planes(): [number, number] {
    const { near, far } = this.camera;
    return [near > NEAREST ? near : 0, far < FARTHEST ? far : Infinity];
  }

  // Whether a Gaussian lies before the near plane or behind the far one.
  isClipped(row: number): boolean {
    const [near, far] = this.planes;
    if (!near && far === Infinity) return false;
    const W = this.camera.matrixWorldInverse.elements;
    const [x, y, z] = this.positions.subarray(3 * row, 3 * row + 3);
    const depth = -(W[2] * x + W[6] * y + W[10] * z + W[14]);
    return depth < near || depth > far;
  }

  // From the camera through a place of the window; the direction has length 1.
  ray(x: number, y: number): Ray {
    const caster = new THREE.Raycaster();
    this.camera.updateMatrixWorld();
    caster.setFromCamera(new THREE.Vector2(2 * x - 1, 1 - 2 * y), this.camera);
    return { origin: caster.ray.origin.toArray(), direction: caster.ray.direction.toArray() };
  }

  // The Gaussians of a side, with the opacities that are drawn.
  shapes(side: Side): Shapes {
    const { positions, largest, scales } = this;
    return { splats: this.scene(side).drawn, positions, largest, scales };
  }

  // Words of the harmonics' bands, as they are drawn.
  get harmonics(): Record<string, Uint32Array> {
    return this.stored.harmonics.words;
  }

  // Colour, opacity and largest standard deviation of a Gaussian as it is stored.
  original(row: number): { color: number[]; opacity: number; scale: number } {
    const [low, high] = this.data.header.colorRange;
    const at = row * STRIDE;
    const bytes = this.stored.original;
    const color = [0, 1, 2].map((i) => low + ((high - low) * bytes[at + i]) / 255);
    return { color, opacity: bytes[at + OPACITY] / 255, scale: this.largest[row] };
  }

  // What is seen now, as points in the window.
  view(): View {
    const size = this.renderer.getSize(new THREE.Vector2());
    this.camera.updateMatrixWorld();
    const { matrixWorldInverse, projectionMatrix } = this.camera;
    const [near, far] = this.planes;
    return { world: matrixWorldInverse.elements, projection: projectionMatrix.elements, width: size.x, height: size.y, near, far };
  }

  // The picture as a PNG, without what lies over it.
  async png(): Promise<Blob> {
    // the browser forgets a picture once it has been shown
    this.draw();
    const canvas = this.drawsSplats ? this.renderer.domElement : byId<HTMLCanvasElement>("exact");
    const found = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
    if (!found) throw new Error("the browser gave no picture");
    return found;
  }

  private draw(): void {
    const { width, height } = this.renderer.getSize(new THREE.Vector2());
    const parts = [
      { side: BEFORE as Side, from: 0, to: this.divider },
      { side: AFTER as Side, from: this.divider, to: 1 },
    ].filter(({ from, to }) => to > from);
    this.renderer.setScissorTest(parts.length > 1);
    const { background, comparison } = this.data.header;
    for (const { side, from, to } of parts) {
      const [r, g, b] = (side === AFTER && comparison?.background) || background;
      this.renderer.setClearColor(new THREE.Color().setRGB(r, g, b), 1);
      const left = Math.round(from * width);
      this.renderer.setScissor(left, 0, Math.round(to * width) - left, height);
      if (this.drawsSplats) this.scene(side).draw(this.camera);
      else this.renderer.clear();
    }
  }

  // A side is made when it is looked at first.
  private scene(side: Side): Scene {
    let scene = this.scenes[side];
    if (!scene) {
      scene = new Scene(this.renderer, this.stored, side, this.data.header.antialiased, () => this.redraw());
      this.scenes[side] = scene;
      if (this.shown) scene.show(this.shown, this.data.header.colorRange);
    }
    return scene;
  }
}
