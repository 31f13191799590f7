// Draws the splats with Spark; a new picture only when something has changed.

import { PackedSplats, SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import * as THREE from "three";
import { type SceneData, packBits, rowsOf } from "./data";
import { type Shown, isFlat, paint } from "./selection";

const STRIDE = 16;
// Spark's textures: whole rows, and whole layers if there is more than one.
const TEXTURE_WIDTH = 2048;
const MOST_ROWS = 2048;
const LARGEST_RATIO = 2;

const BANDS = [
  { name: "sh1", bits: 7, words: 2 },
  { name: "sh2", bits: 8, words: 4 },
  { name: "sh3", bits: 6, words: 4 },
];

export class Picture {
  readonly camera = new THREE.PerspectiveCamera(50, 1, 0.01, 1000);
  readonly renderer: THREE.WebGLRenderer;
  onFrame: () => void = () => {};
  private readonly scene = new THREE.Scene();
  private readonly splats: PackedSplats;
  private readonly mesh: SplatMesh;
  private readonly spark: SparkRenderer;
  private readonly original: Uint8Array;
  private readonly drawn: Uint8Array;
  private isAsked = false;

  constructor(
    canvas: HTMLCanvasElement,
    readonly data: SceneData,
  ) {
    const { header } = data;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false });
    this.renderer.setClearColor(new THREE.Color().setRGB(...(header.background as [number, number, number])), 1);
    const { values, rows, columns } = data.column("splats")!;
    const layer = TEXTURE_WIDTH * Math.min(MOST_ROWS, Math.max(1, Math.ceil(rows / TEXTURE_WIDTH)));
    const capacity = layer * Math.max(1, Math.ceil(rows / layer));
    this.original = rowsOf(values as Uint8Array, rows, columns, capacity);
    this.drawn = this.original.slice();
    const extra: Record<string, Uint32Array> = {};
    const steps: Record<string, number> = {};
    header.bandSteps.forEach((step, i) => {
      const { name, ...layout } = BANDS[i];
      const band = data.column(name)!;
      extra[name] = packBits(band.values as Int8Array, band.rows, band.columns, { ...layout, capacity });
      steps[`${name}Max`] = step * [63, 127, 31][i];
    });
    const splatEncoding = {
      rgbMin: header.colorRange[0],
      rgbMax: header.colorRange[1],
      lnScaleMin: header.logScaleRange[0],
      lnScaleMax: header.logScaleRange[1],
      ...steps,
    };
    const packedArray = new Uint32Array(this.drawn.buffer);
    this.splats = new PackedSplats({ packedArray, numSplats: rows, extra, splatEncoding });
    // a mesh that is told no encoding gives its splats the default one
    this.mesh = new SplatMesh({ packedSplats: this.splats, splatEncoding });
    // as gsdff draws: sorted by depth, three standard deviations, blurred by 0.3 of a pixel's square
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      onDirty: () => this.ask(),
      sortRadial: false,
      maxStdDev: 3,
      preBlurAmount: header.antialiased ? 0 : 0.3,
      blurAmount: header.antialiased ? 0.3 : 0,
    });
    this.scene.add(this.spark, this.mesh);
  }

  // Draws soon, once for all that asked.
  ask(): void {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.onFrame();
      this.renderer.render(this.scene, this.camera);
    });
  }

  resize(width: number, height: number): void {
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, LARGEST_RATIO));
    this.renderer.setSize(width, height, false);
    this.ask();
  }

  show(shown: Shown): void {
    paint(this.original, this.drawn, STRIDE, this.data.numGaussians, shown, this.data.header.colorRange);
    this.mesh.maxSh = isFlat(shown.mode) ? 0 : 3;
    this.splats.setMaxSh(this.mesh.maxSh);
    this.splats.needsUpdate = true;
    this.mesh.updateVersion();
    this.ask();
  }
}
