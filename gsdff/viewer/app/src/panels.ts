// The controls: search, threshold, modes, legend, facts. They know the page, not how a picture is made.

import { Words, fold } from "./words";
import type { Header, Word } from "./data";
import type { Mode } from "./selection";

const MOST_COMPLETIONS = 8;

export type Handlers = {
  search(positives: Word[], negatives: Word[]): void;
  clear(): void;
  threshold(value: number): void;
  mode(mode: Mode): void;
  isolate(index: number | null): void;
  reset(): void;
};

const byId = (id: string) => document.getElementById(id)!;

function element(name: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

export class Panels {
  private readonly words: Words;
  private readonly chips: { word: Word; isNegative: boolean }[] = [];
  private readonly search = byId("search") as HTMLInputElement;
  private readonly slider = byId("threshold") as HTMLInputElement;
  private active = -1;
  private isolated: number | null = null;

  constructor(
    header: Header,
    private readonly handlers: Handlers,
  ) {
    this.words = new Words(header);
    byId("title").textContent = header.title;
    byId("words").hidden = header.words.length === 0;
    byId("modes").hidden = header.words.length === 0 && header.classes.length === 0 && header.things.length === 0;
    byId("mode-classes").hidden = header.classes.length === 0;
    byId("mode-things").hidden = header.things.length === 0;
    for (const mode of ["heat", "isolate", "hide"]) byId(`mode-${mode}`).hidden = header.words.length === 0;
    this.search.placeholder = `search ${header.words.length.toLocaleString("en")} words, -word excludes`;
    this.search.addEventListener("input", () => this.showCompletions());
    this.search.addEventListener("keydown", (event) => this.onKey(event));
    this.search.addEventListener("blur", () => this.hideCompletions());
    byId("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enter(this.search.value);
    });
    this.slider.addEventListener("input", () => handlers.threshold(Number(this.slider.value)));
    for (const button of document.querySelectorAll<HTMLButtonElement>("#modes button")) {
      button.addEventListener("click", () => handlers.mode(button.value as Mode));
    }
    byId("start").addEventListener("click", () => handlers.reset());
    // the information takes the place of the controls: both do not fit
    byId("info-button").addEventListener("click", () => this.open(byId("info").hidden ? "info" : "body"));
    byId("fold").addEventListener("click", () => this.open(byId("body").hidden ? "body" : null));
    for (const [name, value] of header.facts) {
      byId("facts").append(element("dt", "", name), element("dd", "", value));
    }
  }

  // --- search

  // Takes a text of the box: a word to search for, or with a minus before it one to compare with.
  enter(text: string): void {
    const isNegative = text.trim().startsWith("-");
    const name = fold(isNegative ? text.trim().slice(1) : text);
    if (!name) return;
    const word = this.words.recognise(name);
    if (!word) {
      const near = this.words.complete(name, 3);
      const hint = near.length ? `; did you mean ${near.join(", ")}?` : "";
      // nothing on screen answers this question: the old answer must not look like it
      this.chips.length = 0;
      this.drawChips();
      this.handlers.clear();
      this.say(`"${name}" is none of the words in this file${hint}`);
      return;
    }
    const others = this.chips.filter((chip) => chip.word.name !== word.name);
    if (!isNegative) others.splice(0, others.length, ...others.filter((chip) => chip.isNegative));
    this.chips.splice(0, this.chips.length, ...others, { word, isNegative });
    this.search.value = "";
    this.hideCompletions();
    this.submit();
  }

  private submit(): void {
    this.drawChips();
    const [positives, negatives] = [false, true].map((isNegative) =>
      this.chips.filter((chip) => chip.isNegative === isNegative).map((chip) => chip.word),
    );
    if (positives.length) this.handlers.search(positives, negatives);
    else {
      this.handlers.clear();
      this.say(negatives.length ? "now a word to search for" : "");
    }
  }

  private drawChips(): void {
    const buttons = this.chips.map((chip) => {
      const button = element("button", chip.isNegative ? "chip negative" : "chip", chip.word.name);
      button.title = "remove";
      button.addEventListener("click", () => {
        this.chips.splice(this.chips.indexOf(chip), 1);
        this.submit();
      });
      return button;
    });
    byId("chips").replaceChildren(...buttons);
  }

  private showCompletions(): void {
    const text = this.search.value.trim();
    const minus = text.startsWith("-") ? "-" : "";
    const names = text ? this.words.complete(text.slice(minus.length), MOST_COMPLETIONS) : [];
    this.active = -1;
    const items = names.map((name) => {
      const item = element("li", "", minus + name);
      item.setAttribute("role", "option");
      // before the box loses the focus
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        this.enter(minus + name);
      });
      return item;
    });
    byId("completions").replaceChildren(...items);
    byId("completions").hidden = !items.length;
  }

  private hideCompletions(): void {
    byId("completions").hidden = true;
    byId("completions").replaceChildren();
  }

  private onKey(event: KeyboardEvent): void {
    const items = [...byId("completions").children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && items.length) {
      event.preventDefault();
      this.active = (this.active + step + items.length) % items.length;
      items.forEach((item, i) => item.setAttribute("aria-selected", String(i === this.active)));
      this.search.value = items[this.active].textContent!;
    } else if (event.key === "Escape") {
      this.search.value = "";
      this.hideCompletions();
    }
  }

  // --- answers

  say(text: string): void {
    byId("answer").textContent = text;
  }

  // What is under the pointer that was pressed; nothing for an empty text.
  showPicked(text: string): void {
    byId("picked").textContent = text;
    byId("picked").hidden = !text;
  }

  showThreshold(value: number | null, range: [number, number] = [0, 1]): void {
    byId("threshold-row").hidden = value === null;
    if (value === null) return;
    this.slider.min = String(Math.max(0, Math.min(range[0], value)));
    this.slider.max = String(Math.max(range[1], value));
    this.slider.value = String(value);
    byId("threshold-value").textContent = value.toFixed(3);
  }

  showMode(mode: Mode, hasAnswer: boolean): void {
    for (const button of document.querySelectorAll<HTMLButtonElement>("#modes button")) {
      button.setAttribute("aria-pressed", String(button.value === mode));
      button.disabled = !hasAnswer && !["colours", "classes", "things"].includes(button.value);
    }
    byId("legend").hidden = mode !== "classes";
  }

  showLegend(classes: Header["classes"], counts: number[]): void {
    const order = classes.map((_, i) => i).sort((a, b) => counts[b] - counts[a]);
    const rows = order.map((i) => {
      const row = element("button", "class");
      const swatch = element("span", "swatch");
      swatch.style.background = `rgb(${classes[i].color.map((value) => Math.round(255 * value)).join(",")})`;
      row.append(swatch, element("span", "name", classes[i].name), element("span", "count", counts[i].toLocaleString("en")));
      row.setAttribute("aria-pressed", "false");
      row.addEventListener("click", () => {
        this.isolated = this.isolated === i ? null : i;
        rows.forEach((other, at) => other.setAttribute("aria-pressed", String(order[at] === this.isolated)));
        this.handlers.isolate(this.isolated);
      });
      return row;
    });
    byId("legend").replaceChildren(...rows);
  }

  private open(id: "body" | "info" | null): void {
    for (const [other, button] of [["body", "fold"], ["info", "info-button"]]) {
      byId(other).hidden = other !== id;
      byId(button).setAttribute("aria-expanded", String(other === id));
    }
    byId("panel").scrollTop = 0;
  }
}
