import { PerspectiveCamera, Quaternion, Vector3 } from "three";
import { expect, test } from "vitest";
import { nameOf, viewOf } from "../src/scenery";

// Place of a point in a picture by gsdff's conventions, as shares of its sides.
function place(view: ReturnType<typeof viewOf>, point: Vector3): number[] {
  const [w, x, y, z] = view.wxyz;
  const seen = point.clone().sub(new Vector3().fromArray(view.position)).applyQuaternion(new Quaternion(x, y, z, w).conjugate());
  return [0, 1].map((i) => (view.focal[i] * seen.getComponent(i)) / seen.z + view.centre[i]);
}

test.each([false, true])("a view has every point where the page draws it, with the picture moved up or not", (isMoved) => {
  const camera = new PerspectiveCamera(50, 800 / 600, 0.01, 100);
  camera.up.set(0, -1, 0.2);
  camera.position.set(1, -2, 3);
  camera.lookAt(0.2, 0.1, -0.3);
  if (isMoved) camera.setViewOffset(800, 600, 0, 90, 800, 600);
  camera.updateMatrixWorld();
  const view = viewOf(camera, 800, 600);
  for (const point of [new Vector3(), new Vector3(0.5, 0.2, 0.1), new Vector3(-0.3, 0.4, -1)]) {
    const drawn = point.clone().project(camera);
    const [x, y] = place(view, point);
    expect(x).toBeCloseTo((drawn.x + 1) / 2, 5);
    expect(y).toBeCloseTo((1 - drawn.y) / 2, 5);
  }
});

test("a server's mode has the page's name, and that of the page's mode which shows it", () => {
  expect(["colour", "relevancy", "classes", "depth"].map((mode) => nameOf(mode))).toEqual(["colours", "heat", "classes", "depth"]);
  expect([nameOf("colour", "isolate"), nameOf("depth", "isolate")]).toEqual(["isolate", "depth"]);
});
