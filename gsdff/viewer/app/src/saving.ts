// Files saved to this computer: the picture, the edits, the selection.

import { byId, formatCount } from "./dom";
import { editArchive, replayOf } from "./edit_file";
import type { Page } from "./page";
import { rowsIn } from "./selection";

export function download(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // the browser reads it after the click
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// A name for files, of letters that every system takes.
export const fileStem = (title: string) => title.replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^[._]+|[._]+$/g, "") || "scene";

export class Saving {
  constructor(private readonly page: Page) {
    const stem = fileStem(page.data.header.title);
    byId("save-picture").addEventListener("click", async () => download(`${stem}.png`, await page.picture.png()));
    byId("save-edits").addEventListener("click", () => {
      const archive = editArchive(page.editor.edits, page.data.numBefore, page.data.header);
      download(`${stem}_edits.zip`, new Blob([archive as Uint8Array<ArrayBuffer>], { type: "application/zip" }));
    });
    byId("save-selection").addEventListener("click", () => {
      const { title } = page.data.header;
      const content = { scene: title, count: page.data.numGaussians, indices: rowsIn(page.editor.selected) };
      download(`${stem}_selection.json`, new Blob([JSON.stringify(content)], { type: "application/json" }));
    });
  }

  show(): void {
    const { editor, data } = this.page;
    const { edits, numSelected } = editor;
    // Gaussians that only the edited scene has are not in the run
    const isOfRun = edits.every(({ rows }) => rows.indexOf(1, data.numBefore) < 0);
    byId<HTMLButtonElement>("save-edits").disabled = !edits.length || !isOfRun;
    byId<HTMLButtonElement>("save-selection").disabled = !numSelected;
    byId("edits-note").textContent = !edits.length
      ? "no edits yet: delete, recolour or move something"
      : isOfRun
        ? `${edits.length} edit${edits.length === 1 ? "" : "s"}; unpack, then: ${replayOf(data.header.file)}`
        : `edits of what only the edited scene has cannot be replayed on ${data.header.file ?? "the run"}`;
    byId("selection-note").textContent = numSelected
      ? `indices of ${formatCount(numSelected)} Gaussians, as JSON`
      : "nothing is selected";
  }
}
