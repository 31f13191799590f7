// Files that the server saves into the run, and that may be fetched from there to this computer.

import { button, byId, element } from "./dom";
import type { Page } from "./page";
import { Progress } from "./progress";
import type { Remote } from "./remote";
import { download } from "./saving";
import { handEdits } from "./scenery";
import { type Answer, type HandEdit, type Request, bitsOf, packRows } from "./wire";

type Saved = Answer & { type: "saved" };

export class SavePanel {
  private readonly progress = new Progress("save");

  constructor(
    private readonly page: Page,
    private readonly remote: Remote,
  ) {
    byId("saves").hidden = false;
    const { file, server } = page.data.header;
    byId("saves-where").textContent = `by the server, ${file === null ? "into the run" : `beside ${file}`}: ${server!.folder}`;
    for (const made of document.querySelectorAll<HTMLButtonElement>("#saves > button")) {
      made.addEventListener("click", () => void this.save(made.value));
    }
  }

  // Says where a file is, and offers it to this computer.
  offer(root: HTMLElement, { id, path, hint, names }: Saved): void {
    const buttons = names.map((name, place) => {
      const made: HTMLButtonElement = button("by-server", `fetch ${name}`, () => void this.fetch(made, id, place));
      made.title = `save ${name} to this computer`;
      return made;
    });
    root.replaceChildren(element("div", "", `saved ${path}`), element("div", "quiet", hint), ...buttons);
    // on a phone it would be below the fold
    root.scrollIntoView({ block: "nearest" });
  }

  private async fetch(pressed: HTMLButtonElement, saved: number, place: number): Promise<void> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    const name = pressed.textContent!.replace(/^fetch /, "");
    pressed.disabled = true;
    try {
      const { payload } = await this.remote.ask({ type: "fetch", saved, place }, { more: (part) => parts.push(part.payload) });
      download(name, new Blob([...parts, payload]));
    } catch (error) {
      pressed.after(element("div", "", `not fetched: ${(error as Error).message}`));
    } finally {
      pressed.disabled = false;
    }
  }

  private async save(kind: string): Promise<void> {
    const said = byId("saved");
    said.textContent = "";
    try {
      const request = this.request(kind);
      if (!request) throw new Error("the server cannot draw this");
      // words that a page may be asked for are encoded one after another
      const { answer } = await (kind === "page" ? this.remote.make(request, this.progress) : this.remote.ask(request));
      if (answer.type === "saved") this.offer(said, answer);
    } catch (error) {
      said.textContent = `not saved: ${(error as Error).message}`;
    }
  }

  private request(kind: string): Request | null {
    const { data, editor } = this.page;
    const edits = handEdits(editor.edits);
    switch (kind) {
      case "selection":
        return { type: "save_selection", selected: this.selected() };
      case "selected-scene": {
        const selected = this.selected();
        if (!selected) throw new Error("nothing is selected");
        return { type: "save_scene", edits, selected };
      }
      case "scene":
        return { type: "save_scene", edits };
      case "edits":
        return { type: "save_edits", edits };
      case "hidden":
        return { type: "save_edits", edits: this.hidden() };
      case "page": {
        // what is deleted is hidden, too
        const changed = handEdits(editor.edits.filter((edit) => edit.operation !== "delete"));
        const classes = data.header.classes.map((row) => row.name);
        return { type: "save_page", window: this.remote.view(), edits: [...changed, ...this.hidden()], classes };
      }
      default: {
        const pictured = this.remote.pictured();
        return pictured && { type: "save_picture", ...pictured };
      }
    }
  }

  // What is selected by hand, or else by the question.
  private selected(): string {
    const { editor, data } = this.page;
    const selected = editor.numSelected ? editor.selected : this.page.answer();
    return bitsOf(data.numGaussians, (row) => selected[row] === 1);
  }

  // The deletion of what is not shown; nothing where all is.
  private hidden(): HandEdit[] {
    const { data, picture } = this.page;
    const rows = Uint8Array.from({ length: data.numGaussians }, (_, row) => (picture.isHidden(row) ? 1 : 0));
    return rows.includes(1) ? [{ operation: "delete", rows: packRows(rows) }] : [];
  }
}
