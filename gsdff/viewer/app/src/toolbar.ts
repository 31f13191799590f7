// The choice of a tool, by buttons and keys, and what the tools do to the page.

import { byId, press, segments } from "./dom";
import type { Action } from "./keys";
import type { Page } from "./page";
import { type Tool, Tools } from "./tools";
import { pixelsPerUnit, project } from "./view";

const BUTTONS = ["move", "box", "lasso", "brush", "sphere"] as const;
const LABELS = {
  move: "turn and move the scene (Esc)",
  box: "select by a box (R)",
  lasso: "select by a lasso (L)",
  brush: "select by a brush (B)",
  sphere: "select by a sphere: drag from its middle (O)",
};
const FACTOR = 1.25;

export class ToolBar {
  private readonly tools: Tools;

  constructor(page: Page) {
    const size = byId<HTMLInputElement>("brush-size");
    const show = segments<Tool>(byId("tools"), BUTTONS, (tool) => this.tools.choose(tool), LABELS);
    this.tools = new Tools(byId("picture"), {
      take: (region, how) => page.takeRegion(region, how ?? page.how),
      hit: ([x, y]) => {
        const met = page.picture.pick(x / innerWidth, y / innerHeight);
        const view = page.picture.view();
        return met && { centre: met.point, pixels: pixelsPerUnit(view, project(view, met.point)!.depth) };
      },
      changed: (tool) => {
        show(tool);
        press(byId("measure"), tool === "measure");
        size.hidden = tool !== "brush";
        size.value = String(this.tools.radius);
        page.orbit.free(!this.tools.isDrawing);
      },
    });
    size.addEventListener("input", () => this.tools.resize(Number(size.value)));
    byId("measure").addEventListener("click", () => this.tools.choose("measure"));
    show("move");
  }

  get tool(): Tool {
    return this.tools.tool;
  }

  get keys(): Partial<Record<Action, () => void>> {
    const choices = (["box", "lasso", "brush", "sphere", "measure"] as const).map((tool) => [tool, () => this.tools.choose(tool)]);
    const resize = (factor: number) => () => this.tools.resize(this.tools.radius * factor);
    return { ...Object.fromEntries(choices), smaller: resize(1 / FACTOR), larger: resize(FACTOR) };
  }

  // Leaves the shape that is drawn, or else the tool; false if there is neither.
  leave(): boolean {
    if (this.tools.cancel()) return true;
    if (this.tool === "move") return false;
    this.tools.choose("move");
    return true;
  }
}
