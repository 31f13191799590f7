// The viewer of SuperSplat. Its camera has no roll and y is up, so the scene is laid before a camera at the origin.

import { defaultSettings } from "@playcanvas/supersplat-viewer/settings.js";
import { createViewer } from "@playcanvas/supersplat-viewer/viewer.js";
import * as THREE from "three";
import { pose } from "./cameras.js";

export async function show(file, view) {
  const container = document.createElement("div");
  container.style.cssText = "width: 100vw; height: 100vh";
  document.body.append(container);
  // its field of view is that of the longer side
  const half = Math.tan((view.fov_y * Math.PI) / 360) * Math.max(1, innerWidth / innerHeight);
  const camera = { position: [0, 0, 0], target: [0, 0, -1], fov: (Math.atan(half) * 360) / Math.PI };
  const settings = { ...defaultSettings(), cameras: [{ initial: camera }], startMode: "default" };
  settings.background = { color: [0, 0, 0] };
  const viewer = await createViewer({
    container, settings, contentUrl: file, renderer: "webgl", ui: false, noanim: true, budget: 10,
  });
  const [position, rotation] = [new THREE.Vector3(), new THREE.Quaternion()];
  pose(view).invert().decompose(position, rotation, new THREE.Vector3());
  // before the viewer measures the scene for its clipping planes
  viewer.app.root.on("childinsert", (entity) => {
    if (entity.name !== "gsplat") return;
    entity.setLocalPosition(...position);
    entity.setLocalRotation(...rotation);
  });
  await new Promise((resolve) => viewer.events.on("loaded:changed", resolve));
  return viewer.app.root.findByName("gsplat").gsplat.resource.gsplatData.numSplats;
}
