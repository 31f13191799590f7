// The page: reads the scene in this file, draws it, and answers questions about it. It asks nothing of a network.
// Here its parts are made and joined, and nothing else.

import { Caption, captionOf } from "./caption";
import { Divider } from "./comparison";
import { readScene } from "./data";
import { byId } from "./dom";
import { listen } from "./keys";
import { ClassesPanel } from "./classes";
import { Page } from "./page";
import { Panels } from "./panels";
import { Search } from "./search";
import { SelectPanel } from "./select_panel";
import { onTap } from "./tap";
import { ThingsPanel } from "./layers";
import { TourBar } from "./tour";

function open(page: Page): void {
  const { data, shown, picture, orbit, answers, editor } = page;
  const { header } = data;
  const tour = new TourBar(header.tour, (pose) => orbit.fly(pose));
  page.gestureHandlers.push(() => tour.pause());
  const goToStart = () => {
    tour.pause();
    orbit.reset();
  };
  const panels = new Panels(header, {
    threshold: (value) => page.setThreshold(value),
    mode: (mode) => void page.setMode(mode),
    reset: goToStart,
  });
  new Search(page.words, {
    search: (positives, negatives) => void answers.search(positives, negatives),
    clear: (problem) => answers.clear(problem),
  });
  const selecting = new SelectPanel(page);
  const classes = new ClassesPanel(page);
  const things = new ThingsPanel(page);
  const caption = new Caption();
  page.changedHandlers.push(() => {
    panels.show(shown, page.describeAnswer());
    selecting.show();
    classes.show();
    things.show();
    const { question, pending } = answers;
    const { numDeleted, numSelected } = editor;
    caption.show(captionOf(shown, header, { question, pending, numDeleted, numSelected }), pending !== "");
  });
  new Divider(header.comparison, (share) => {
    const { side } = page;
    picture.divide(share);
    if (page.side !== side) page.changed();
  });
  onTap(byId("picture"), (x, y) => void things.tell(x, y, (text) => panels.showPicked(text)));
  listen(
    {
      undo: () => editor.undo(),
      redo: () => editor.redo(),
      delete: () => selecting.delete(),
      invert: () => editor.invert(page.selectable()),
      all: () => selecting.all(),
      none: () => selecting.none(),
      escape: () => selecting.none(),
      frame: () => page.frame(),
      start: goToStart,
      search: () => panels.search(),
      fold: () => byId("fold").click(),
      ...(header.tour && { tour: () => byId("tour-play").click() }),
      ...Object.fromEntries(panels.modeNames().map((_, place) => [`mode${place}`, () => panels.pressMode(place)])),
    },
    () => panels.modeNames(),
  );
  page.changed();
}

declare global {
  interface Window {
    gsdff?: Page;
  }
}

readScene(document)
  .then((data) => {
    window.gsdff = new Page(data);
    open(window.gsdff);
    byId("loading").hidden = true;
  })
  .catch((error: unknown) => {
    byId("loading").textContent = `This file cannot be shown: ${String(error)}`;
  });
