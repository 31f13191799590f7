// The panel's frame: modes, tabs, the answer with its threshold, facts about the file, folding.

import type { Header } from "./data";
import { byId, element, press } from "./dom";
import { type Mode, type Shown, isAnswerMode } from "./shown";

export type PanelHandlers = {
  threshold(value: number): void;
  mode(mode: Mode): void;
  reset(): void;
};

export class Panels {
  private readonly slider = byId<HTMLInputElement>("threshold");
  private scores: Shown["scores"] = null;
  private readonly modes = [...document.querySelectorAll<HTMLButtonElement>("#modes button")];
  private readonly tabs = [...document.querySelectorAll<HTMLButtonElement>("#tabs button")];

  constructor(
    header: Header,
    handlers: PanelHandlers,
  ) {
    const [hasWords, hasClasses, hasThings] = [header.words, header.classes, header.things].map((list) => list.length > 0);
    byId("title").textContent = header.title;
    byId("modes").hidden = !hasWords && !hasClasses && !hasThings;
    const has = { classes: hasClasses, things: hasThings, colours: true } as Partial<Record<Mode, boolean>>;
    for (const button of this.modes) {
      button.hidden = !(has[button.value as Mode] ?? hasWords);
      button.addEventListener("click", () => handlers.mode(button.value as Mode));
    }
    for (const tab of this.tabs) {
      tab.hidden = { search: !hasWords, things: !hasThings }[tab.value] ?? false;
      tab.addEventListener("click", () => this.open(tab.value));
    }
    this.slider.addEventListener("input", () => handlers.threshold(Number(this.slider.value)));
    byId("start").addEventListener("click", () => handlers.reset());
    // the information takes the place of the controls: both do not fit
    byId("info-button").addEventListener("click", () => this.unfold(byId("info").hidden ? "info" : "body"));
    byId("fold").addEventListener("click", () => this.unfold(byId("body").hidden ? "body" : null));
    for (const [name, value] of header.facts) {
      byId("facts").append(element("dt", "", name), element("dd", "", value));
    }
    // on a phone the panel is at the foot, and what lies over the picture stands on it
    const panel = byId("panel");
    new ResizeObserver(() => {
      document.documentElement.style.setProperty("--foot", `${panel.offsetHeight}px`);
    }).observe(panel);
    this.open(this.tabs.find((tab) => !tab.hidden)!.value);
  }

  // Opens a tab.
  open(name: string): void {
    for (const tab of this.tabs) {
      press(tab, tab.value === name);
      byId(`tab-${tab.value}`).hidden = tab.value !== name;
    }
    if (byId("body").hidden) this.unfold("body");
  }

  // Names of the modes that there are, in the order of their keys.
  modeNames(): string[] {
    return this.modes.filter((button) => !button.hidden).map((button) => button.value);
  }

  pressMode(place: number): void {
    this.modes.filter((button) => !button.hidden)[place].click();
  }

  // Opens the search box for typing.
  search(): void {
    if (this.tabs.find((tab) => tab.value === "search")!.hidden) return;
    this.open("search");
    byId("search").focus();
  }

  show(shown: Shown, answer: string): void {
    // what a click has said of the question before does not hold any more
    if (shown.scores !== this.scores) this.showPicked("");
    this.scores = shown.scores;
    for (const button of this.modes) {
      press(button, button.value === shown.mode);
      button.disabled = isAnswerMode(button.value as Mode) && !shown.scores;
    }
    byId("answer").textContent = answer;
    byId("take-answer").hidden = !shown.scores;
    byId("threshold-row").hidden = !shown.scores || !isAnswerMode(shown.mode);
    byId("chips").classList.toggle("aside", shown.scores !== null && !isAnswerMode(shown.mode));
    if (!shown.scores) return;
    this.slider.min = String(Math.max(0, Math.min(shown.range[0], shown.threshold)));
    this.slider.max = String(Math.max(shown.range[1], shown.threshold));
    this.slider.value = String(shown.threshold);
    byId("threshold-value").textContent = shown.threshold.toFixed(3);
  }

  // What is under the place that was pressed; nothing for an empty text.
  showPicked(text: string): void {
    byId("picked").textContent = text;
    byId("picked").hidden = !text;
  }

  private unfold(id: "body" | "info" | null): void {
    for (const [other, button] of [["body", "fold"], ["info", "info-button"]]) {
      byId(other).hidden = other !== id;
      byId(button).setAttribute("aria-expanded", String(other === id));
    }
    byId("panel").scrollTop = 0;
  }
}
