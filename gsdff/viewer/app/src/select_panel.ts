// What is selected by hand, and what is done to it: deleted, kept alone, recoloured, and undone again.

import { byId, formatCount, formatLength, fromHex } from "./dom";
import type { Page } from "./page";
import { extentOf } from "./statistics";

export class SelectPanel {
  private facts: Uint8Array | null = null;

  constructor(private readonly page: Page) {
    const { editor } = page;
    const press = (id: string, act: () => void) => byId(id).addEventListener("click", act);
    press("undo", () => editor.undo());
    press("redo", () => editor.redo());
    press("delete", () => this.delete());
    press("keep", () => this.keep());
    press("all", () => this.all());
    press("none", () => this.none());
    press("invert", () => editor.invert(page.selectable()));
    press("take-answer", () => page.take(page.answer(), `select ${page.answers.question}`));
    const color = byId<HTMLInputElement>("recolor");
    color.addEventListener("change", () => editor.recolor(fromHex(color.value)));
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

  // Deletes all that is not selected, of what may be.
  private keep(): void {
    const { page } = this;
    const { selected, numSelected } = page.editor;
    if (numSelected) page.editor.delete(page.selectable().map((is, row) => is & (1 - selected[row])));
  }

  show(): void {
    const { editor, data } = this.page;
    const { numSelected } = editor;
    const count = formatCount(numSelected);
    byId("num-selected").textContent = numSelected ? count : "";
    byId("selection").textContent = numSelected
      ? `${count} of ${formatCount(data.numGaussians)} Gaussians selected`
      : "nothing is selected";
    byId("delete").textContent = numSelected ? `delete ${count}` : "delete";
    for (const id of ["delete", "keep", "recolor"]) byId<HTMLButtonElement>(id).disabled = !numSelected;
    for (const [id, name] of [["undo", editor.undoable], ["redo", editor.redoable]] as const) {
      byId<HTMLButtonElement>(id).disabled = name === null;
      byId(id).title = name === null ? `nothing to ${id}` : `${id} ${name}`;
    }
    if (this.facts !== editor.selected) this.showExtent();
    this.facts = editor.selected;
  }

  // Where the selection is and how large, in the units of the photos' poses.
  private showExtent(): void {
    const { editor, picture, data } = this.page;
    const extent = editor.numSelected
      ? extentOf(editor.selected, picture.positions, (row) => picture.original(row).opacity)
      : null;
    const { centre, scale } = data.header.frame;
    const inWorld = (values: number[]) => values.map((value, i) => formatLength(value * scale + centre[i])).join(", ");
    const lengths = (values: number[]) => values.map((value) => formatLength(value * scale)).join(" × ");
    byId("selection-facts").textContent = extent ? `centre ${inWorld(extent.centre)} · size ${lengths(extent.size)}` : "";
  }
}
