// Spark, in a scene of three.js.

import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import * as THREE from "three";
import { repeat, threeCamera, threeRenderer } from "./cameras.js";

export async function show(file, view) {
  const renderer = threeRenderer();
  const camera = threeCamera(view);
  const scene = new THREE.Scene();
  // 3DGS's own 0.3 pixels; Spark's default takes scenes to be trained with anti-aliasing
  scene.add(new SparkRenderer({ renderer, preBlurAmount: 0.3, blurAmount: 0 }));
  const splats = new SplatMesh({ url: file });
  scene.add(splats);
  await splats.initialized;
  repeat(renderer, () => renderer.render(scene, camera));
  return splats.packedSplats.numSplats;
}
