// What the pages with three.js share. The camera they are given is {position, camtoworld, fov_y}: camtoworld as the rows
// of a 3x3 rotation with OpenCV's axes (x right, y down, z forward), fov_y in degrees.

import * as THREE from "three";

// three's axes are OpenGL's: y up, looking along -z.
export function pose({ position, camtoworld }) {
  const [x, y, z] = [0, 1, 2].map((column) => new THREE.Vector3(...camtoworld.map((row) => row[column])));
  return new THREE.Matrix4().makeBasis(x, y.negate(), z.negate()).setPosition(...position);
}

export function threeCamera(view) {
  const camera = new THREE.PerspectiveCamera(view.fov_y, innerWidth / innerHeight, 0.01, 100);
  pose(view).decompose(camera.position, camera.quaternion, camera.scale);
  camera.updateMatrixWorld();
  return camera;
}

export function threeRenderer() {
  const renderer = new THREE.WebGLRenderer({ antialias: false });
  renderer.setSize(innerWidth, innerHeight);
  document.body.append(renderer.domElement);
  return renderer;
}

// Draws again and again, but a frame only when the one before is finished: in software one can take seconds.
export async function repeat(renderer, draw) {
  const gl = renderer.getContext();
  for (;;) {
    draw();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}
