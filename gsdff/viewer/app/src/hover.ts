// What is under the pointer when it rests: the likely class, the thing and the score.

import { byId } from "./dom";

const REST_MILLISECONDS = 120;
const [RIGHT, BELOW] = [14, 18];

export class Hover {
  private readonly tip = byId("tip");
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    canvas: HTMLElement,
    // Lines about a place of the window, both from 0 to 1; none where nothing is.
    private readonly describe: (x: number, y: number) => string[],
  ) {
    canvas.addEventListener("pointermove", (event) => {
      this.hide();
      // a finger covers what it points at, and who drags looks at something else
      if (event.pointerType !== "mouse" || event.buttons) return;
      this.timer = setTimeout(() => this.show(event.clientX, event.clientY), REST_MILLISECONDS);
    });
    for (const kind of ["pointerdown", "pointerleave", "wheel"]) {
      canvas.addEventListener(kind, () => this.hide(), { passive: true });
    }
  }

  hide(): void {
    clearTimeout(this.timer);
    this.tip.hidden = true;
  }

  private show(x: number, y: number): void {
    const lines = this.describe(x / window.innerWidth, y / window.innerHeight);
    this.tip.replaceChildren(...lines.map((text) => Object.assign(document.createElement("div"), { textContent: text })));
    this.tip.hidden = !lines.length;
    const { offsetWidth, offsetHeight } = this.tip;
    const left = x + RIGHT + offsetWidth > window.innerWidth ? x - RIGHT - offsetWidth : x + RIGHT;
    const top = y + BELOW + offsetHeight > window.innerHeight ? y - BELOW - offsetHeight : y + BELOW;
    this.tip.style.translate = `${left}px ${top}px`;
  }
}
