// GaussianSplats3D, with a camera of three.js. It knows harmonics up to degree 2.

import { LogLevel, SceneRevealMode, Viewer } from "@mkkellogg/gaussian-splats-3d";
import { repeat, threeCamera, threeRenderer } from "./cameras.js";

export async function show(file, view) {
  const renderer = threeRenderer();
  const viewer = new Viewer({
    renderer,
    camera: threeCamera(view),
    selfDrivenMode: false,
    useBuiltInControls: false,
    sharedMemoryForWorkers: false, // would need headers from the server
    sphericalHarmonicsDegree: 2,
    sceneRevealMode: SceneRevealMode.Instant,
    logLevel: LogLevel.None,
  });
  await viewer.addSplatScene(file, { showLoadingUI: false, splatAlphaRemovalThreshold: 0 });
  repeat(renderer, () => {
    viewer.update();
    viewer.render();
  });
  return viewer.splatMesh.getSplatCount();
}
