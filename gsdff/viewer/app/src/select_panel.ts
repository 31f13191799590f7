// What is selected by hand, and what is done to it: deleted, kept alone, recoloured, and undone again.

import { byId, formatCount, formatLength, fromHex, segments } from "./dom";
import { Filter } from "./filter";
import type { Page } from "./page";
import { HOWS, type How } from "./selection";
import { extentOf } from "./statistics";

const HOW_LABELS: Record<How, string> = {
  new: "what is taken next is the selection",
  add: "what is taken next joins the selection (Shift)",
  subtract: "what is taken next leaves the selection (Ctrl)",
  intersect: "what is in both stays in the selection (Shift and Ctrl)",
};

const TAKE: Record<How, string> = {
  new: "select these",
  add: "add these to the selection",
  subtract: "take these out of the selection",
  intersect: "keep what is both here and selected",
};
const DEPTHS = ["visible only", "all depths"] as const;

export class SelectPanel {
  // What the shown facts are of.
  private measured: unknown[] = [];
  private readonly filter: Filter;
  private readonly showHows: ((how: How) => void)[];
  private readonly showDepths: (name: (typeof DEPTHS)[number]) => void;

  constructor(private readonly page: Page) {
    const { editor } = page;
    const press = (id: string, act: () => void) => byId(id).addEventListener("click", act);
    press("undo", () => editor.undo());
    press("redo", () => editor.redo());
    press("delete", () => this.delete());
    press("keep", () => this.keep());
    press("conceal", () => editor.hide());
    press("alone", () => this.alone());
    press("reveal", () => editor.showAll());
    press("all", () => this.all());
    press("none", () => this.none());
    press("invert", () => editor.invert(page.selectable()));
    press("take-answer", () => void page.takeAnswer());
    byId("rim").addEventListener("change", () => (page.hasRim = byId<HTMLInputElement>("rim").checked));
    this.filter = new Filter(page);
    this.showHows = [...document.querySelectorAll<HTMLElement>(".how")].map((root) =>
      segments(root, HOWS, (how) => this.join(how), HOW_LABELS),
    );
    this.showDepths = segments(byId("depths"), DEPTHS, (name) => this.seeThrough(name === "all depths"));
    const color = byId<HTMLInputElement>("recolor");
    color.addEventListener("change", () => editor.recolor(fromHex(color.value)));
  }

  join(how: How): void {
    this.page.how = how;
    this.show();
  }

  seeThrough(isOn = this.page.isVisibleOnly): void {
    this.page.isVisibleOnly = !isOn;
    this.show();
  }

  delete(): void {
    this.page.editor.delete();
  }

  all(): void {
    this.page.take(this.page.selectable(), "select all", "new");
  }

  none(): void {
    this.page.editor.select(new Uint8Array(this.page.data.numGaussians), "new", "select none");
  }

  alone(): void {
    this.page.editor.isolate(this.page.selectable());
  }

  // Deletes all that is not selected, of what may be.
  private keep(): void {
    const { page } = this;
    const { selected, numSelected } = page.editor;
    if (numSelected) page.editor.delete(page.selectable().map((is, row) => is & (1 - selected[row])));
  }

  show(): void {
    const { editor, data, how, isTaking, isVisibleOnly } = this.page;
    const { numSelected } = editor;
    this.showHows.forEach((show) => show(how));
    this.showDepths(DEPTHS[isVisibleOnly ? 0 : 1]);
    byId("take-answer").textContent = isTaking ? "looking for the rim …" : TAKE[how];
    byId<HTMLButtonElement>("take-answer").disabled = isTaking;
    // what is like a place has none: only words say what something else is
    byId("rim-row").hidden = !this.page.shown.scores || !this.page.answers.asked;
    // before anything is selected there is nothing to join
    document.querySelector<HTMLElement>("#tab-search .how")!.hidden = !this.page.shown.scores || !numSelected;
    this.filter.show();
    const count = formatCount(numSelected);
    byId("num-selected").textContent = numSelected ? count : "";
    byId("selection").textContent = numSelected
      ? `${count} of ${formatCount(data.numGaussians)} Gaussians selected`
      : "nothing is selected";
    byId("delete").textContent = numSelected ? `delete ${count}` : "delete";
    for (const id of ["delete", "keep", "recolor", "conceal", "alone"]) byId<HTMLButtonElement>(id).disabled = !numSelected;
    byId<HTMLButtonElement>("reveal").disabled = !editor.numHidden;
    for (const [id, name] of [["undo", editor.undoable], ["redo", editor.redoable]] as const) {
      byId<HTMLButtonElement>(id).disabled = name === null;
      byId(id).title = name === null ? `nothing to ${id}` : `${id} ${name}`;
    }
    const measured = [editor.selected, this.page.units, this.page.shown.moves];
    if (measured.some((value, i) => value !== this.measured[i])) this.showExtent();
    this.measured = measured;
  }

  // Where the selection is, in the world of the photos' poses, and how large.
  private showExtent(): void {
    const { editor, picture, data } = this.page;
    const extent = editor.numSelected
      ? extentOf(editor.selected, picture.positions, (row) => picture.original(row).opacity)
      : null;
    const { centre, scale } = data.header.frame;
    const inWorld = (values: number[]) => values.map((value, i) => formatLength(value * scale + centre[i])).join(", ");
    const { factor, unit } = this.page.units;
    const lengths = (values: number[]) => `${values.map((value) => formatLength(value * factor)).join(" × ")}${unit}`;
    byId("selection-facts").textContent = extent ? `centre ${inWorld(extent.centre)} · size ${lengths(extent.size)}` : "";
  }
}
