// The search box: completion, chips of what is searched for and what is excluded, and the words asked before.

import type { Word } from "./data";
import { button, byId, element } from "./dom";
import { type Words, fold } from "./words";

const MOST_COMPLETIONS = 8;
const MOST_LISTED = 200;
const MOST_RECENT = 5;

export type SearchHandlers = {
  search(positives: Word[], negatives: Word[]): void;
  // Whether a server encodes any text.
  encodes(): boolean;
  // Selects a thing by its number; false if there is none.
  thing(number: number): boolean;
  // No question is left, or none that has an answer: then for this reason.
  clear(problem?: string): void;
};

export class Search {
  private readonly chips: { word: Word; isNegative: boolean }[] = [];
  private readonly box = byId<HTMLInputElement>("search");
  private readonly recent: string[] = [];
  private active = -1;

  constructor(
    private readonly words: Words,
    private readonly handlers: SearchHandlers,
  ) {
    const { names, isOpen } = words;
    this.box.placeholder = `search ${isOpen ? "for any" : names.length.toLocaleString("en")} words, -word excludes`;
    this.box.addEventListener("input", () => this.showCompletions());
    this.box.addEventListener("focus", () => this.showCompletions());
    this.box.addEventListener("click", () => this.showCompletions());
    this.box.addEventListener("keydown", (event) => this.onKey(event));
    this.box.addEventListener("blur", () => this.hideCompletions());
    byId("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enter(this.box.value);
    });
  }

  // Takes a text of the box: a word to search for, with a minus before it one to compare with, with a plus one more.
  enter(text: string): void {
    const [, sign, rest] = /^\s*([-+]?)(.*)$/.exec(text)!;
    const name = fold(rest);
    if (!name) return;
    const thing = /^thing:(\d+)$/.exec(name);
    if (thing && this.handlers.thing(Number(thing[1]))) {
      this.box.value = "";
      return this.hideCompletions();
    }
    const word = this.words.recognise(name) ?? (this.handlers.encodes() ? this.words.learn(name) : undefined);
    if (!word) return this.fail(name);
    const isNegative = sign === "-";
    const others = this.chips.filter((chip) => chip.word.name !== word.name);
    const kept = sign ? others : others.filter((chip) => chip.isNegative);
    this.chips.splice(0, this.chips.length, ...kept, { word, isNegative });
    this.recent.splice(0, Infinity, ...[...new Set([word.name, ...this.recent])].slice(0, MOST_RECENT));
    this.box.value = "";
    this.hideCompletions();
    this.submit();
  }

  // Nothing on screen answers this text: no chip may look like it.
  private fail(name: string): void {
    this.chips.length = 0;
    this.drawChips();
    this.hideCompletions();
    this.handlers.clear(`"${name}" is none of the words in this file`);
    const near = this.words.suggest(name);
    if (!near.length) return;
    byId("answer").append(" – did you mean ", ...near.map((other) => button("word", other, () => this.enter(other))));
  }

  private submit(): void {
    this.drawChips();
    const [positives, negatives] = [false, true].map((isNegative) =>
      this.chips.filter((chip) => chip.isNegative === isNegative).map((chip) => chip.word),
    );
    if (positives.length) this.handlers.search(positives, negatives);
    else this.handlers.clear(negatives.length ? "now a word to search for" : "");
  }

  private drawChips(): void {
    const chips = this.chips.map((chip) => {
      const remove = () => {
        this.chips.splice(this.chips.indexOf(chip), 1);
        this.submit();
      };
      return button(chip.isNegative ? "chip negative" : "chip", chip.word.name, remove, `remove ${chip.word.name}`);
    });
    byId("chips").replaceChildren(...chips);
  }

  // --- words that are offered

  private showCompletions(): void {
    const text = this.box.value.trim();
    const sign = /^[-+]/.exec(text)?.[0] ?? "";
    const rest = text.slice(sign.length).trim();
    const names = rest ? this.words.complete(rest, MOST_COMPLETIONS) : this.words.names.slice(0, MOST_LISTED);
    const recent = rest ? [] : this.recent;
    const others = names.filter((name) => !recent.includes(name));
    this.active = -1;
    const rows = [...recent.map((name) => this.option(name, sign, "recent")), ...others.map((name) => this.option(name, sign))];
    byId("completions").replaceChildren(...rows);
    byId("completions").hidden = !rows.length;
  }

  private option(name: string, sign: string, kind = ""): HTMLElement {
    const row = element("li", kind);
    row.dataset.text = sign + name;
    row.append(element("span", "name", sign + name));
    row.setAttribute("role", "option");
    row.setAttribute("aria-label", sign + name);
    // before the box loses the focus
    row.addEventListener("pointerdown", (event) => event.preventDefault());
    row.addEventListener("click", () => this.enter(sign + name));
    if (!sign) {
      for (const [mark, label] of [["+", `${name} too`], ["−", `exclude ${name}`]]) {
        const more = button("sign", mark, () => undefined, label);
        more.addEventListener("click", (event) => {
          event.stopPropagation();
          this.enter((mark === "+" ? "+" : "-") + name);
        });
        row.append(more);
      }
    }
    return row;
  }

  private hideCompletions(): void {
    byId("completions").hidden = true;
    byId("completions").replaceChildren();
  }

  private onKey(event: KeyboardEvent): void {
    const rows = [...byId("completions").children] as HTMLElement[];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && rows.length) {
      event.preventDefault();
      this.active = (this.active + step + rows.length) % rows.length;
      rows.forEach((row, i) => row.setAttribute("aria-selected", String(i === this.active)));
      rows[this.active].scrollIntoView({ block: "nearest" });
      this.box.value = rows[this.active].dataset.text!;
    } else if (event.key === "Escape") {
      this.box.value = "";
      this.box.blur();
    }
  }
}
