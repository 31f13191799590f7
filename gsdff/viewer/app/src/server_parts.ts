// Everything that a page can do because a server stands behind it, joined to the page.

import { ByPlace } from "./by_place";
import type { ClassesPanel } from "./classes";
import { FilmPanel } from "./film";
import { Live } from "./live";
import { OwnClasses } from "./own_classes";
import type { Page } from "./page";
import { Remote } from "./remote";
import { SavePanel } from "./save_panel";

export type ServerParts = { remote: Remote; byPlace: ByPlace };

// Null for a page from a disk, which has no server. `enter` takes a text of the search box.
export function openServerParts(page: Page, classes: ClassesPanel, enter: (text: string) => void): ServerParts | null {
  const remote = Remote.open(page);
  if (!remote) return null;
  const saves = new SavePanel(page, remote);
  new FilmPanel(page, remote, saves);
  new OwnClasses(page, remote, classes);
  const byPlace = new ByPlace(page, remote);
  Live.open(page, remote, enter);
  return { remote, byPlace };
}
