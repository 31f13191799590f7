// The page: reads the scene in this file, draws it, and answers questions about it. It asks nothing of a network.
// Here its parts are made and joined, and nothing else.

import { Caption, captionOf } from "./caption";
import { ClassesPanel } from "./classes";
import { Divider } from "./comparison";
import { readScene } from "./data";
import { byId } from "./dom";
import { Cameras } from "./frustums";
import { Gizmo } from "./gizmo";
import { Hover } from "./hover";
import { listen } from "./keys";
import { ThingsPanel } from "./layers";
import { Measure } from "./measure";
import { Page } from "./page";
import { Panels } from "./panels";
import { timeLeft } from "./progress";
import { Saving } from "./saving";
import { Search } from "./search";
import { type ServerParts, openServerParts } from "./server_parts";
import { SelectPanel } from "./select_panel";
import { onTap } from "./tap";
import { ToolBar } from "./toolbar";
import { TourBar } from "./tour";
import { Viewing } from "./viewing";

function open(page: Page): void {
  const { data, shown, picture, orbit, answers, editor } = page;
  const { header } = data;
  const tour = new TourBar(header.tour, (pose) => orbit.fly(pose));
  page.gestureHandlers.push(() => tour.pause());
  const goToStart = () => {
    tour.pause();
    orbit.reset();
  };
  let server: ServerParts | null = null;
  const panels = new Panels(header, {
    threshold: (value) => page.setThreshold(value),
    mode: (mode) => {
      server?.remote.leave();
      void page.setMode(mode);
    },
    reset: goToStart,
  });
  const search = new Search(page.words, {
    search: (positives, negatives) => {
      server?.remote.leave();
      void answers.search(positives, negatives);
    },
    thing: (number) => {
      if (!header.things.some((thing) => thing.id === number)) return false;
      page.take(page.thing(number), `select thing ${number}`);
      return true;
    },
    encodes: () => server?.remote.isOpen ?? false,
    clear: (problem) => answers.clear(problem),
  });
  const selecting = new SelectPanel(page);
  const classes = new ClassesPanel(page);
  const things = new ThingsPanel(page);
  const saving = new Saving(page);
  const measure = new Measure(page);
  const toolbar = new ToolBar(page);
  const gizmo = new Gizmo(page);
  const cameras = new Cameras(page, (pose) => {
    tour.pause();
    orbit.fly(pose);
  });
  new Viewing(page);
  const canvas = byId("picture");
  new Hover(canvas, (x, y) => page.likely(x, y));
  const caption = new Caption();
  page.changedHandlers.push(() => {
    panels.show(shown, page.describeAnswer());
    selecting.show();
    classes.show();
    things.show();
    saving.show();
    const { question, pending } = answers;
    const { numDeleted, numSelected, numHidden } = editor;
    const named = { question, pending, numDeleted, numSelected, numHidden };
    caption.show(captionOf(shown, header, named), pending !== "");
  });
  new Divider(header.comparison, (share) => {
    const { side } = page;
    picture.divide(share);
    if (page.side !== side) page.changed();
  });
  onTap(canvas, (x, y) => {
    if (toolbar.tool === "measure") measure.press(x, y);
    else if (toolbar.tool === "move" && !cameras.press([x * innerWidth, y * innerHeight])) {
      void things.tell(x, y, (text) => panels.showPicked(text));
      server?.byPlace.press(x, y);
    }
  });
  byId("frame").addEventListener("click", () => page.frame());
  listen(
    {
      undo: () => editor.undo(),
      redo: () => editor.redo(),
      delete: () => selecting.delete(),
      invert: () => editor.invert(page.selectable()),
      all: () => selecting.all(),
      none: () => selecting.none(),
      escape: () => void (gizmo.cancel() || toolbar.leave() || measure.clear() || selecting.none()),
      conceal: () => editor.hide(),
      alone: () => selecting.alone(),
      reveal: () => editor.showAll(),
      frame: () => page.frame(),
      start: goToStart,
      ...toolbar.keys,
      gizmo: () => gizmo.toggle(),
      depth: () => selecting.seeThrough(),
      search: () => panels.search(),
      fold: () => byId("fold").click(),
      ...(header.tour && { tour: () => byId("tour-play").click() }),
      ...Object.fromEntries(panels.modeNames().map((_, place) => [`mode${place}`, () => panels.pressMode(place)])),
    },
    () => panels.modeNames(),
  );
  page.changed();
  server = openServerParts(page, classes, (text) => search.enter(text));
}

declare global {
  interface Window {
    gsdff?: Page;
  }
}

// Says how much of the scene has come, and when the rest will have.
function loading(): (share: number) => void {
  const started = performance.now();
  return (share) => {
    const left = timeLeft(share, performance.now() - started);
    byId("loading").textContent = [`opening the scene … ${Math.floor(100 * share)} %`, left].filter(Boolean).join(", ");
  };
}

readScene(document, loading())
  .then((data) => {
    window.gsdff = new Page(data);
    open(window.gsdff);
    byId("loading").hidden = true;
  })
  .catch((error: unknown) => {
    byId("loading").textContent = `This file cannot be shown: ${String(error)}`;
  });
