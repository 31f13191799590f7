// How much of what the server makes is done: a bar, and about how long the rest takes.

import { byId } from "./dom";

// Milliseconds, and share, before which nothing is said of the time.
const [EARLY, LITTLE] = [1000, 0.02];

// The time that is left, in words; "" before it can be told.
export function timeLeft(share: number, elapsed: number): string {
  if (elapsed < EARLY || share < LITTLE) return "";
  const seconds = ((1 - share) / share) * (elapsed / 1000);
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s left`;
  return `about ${Math.round(seconds / 60)} min left`;
}

export class Progress {
  private readonly bar: HTMLProgressElement;
  private readonly left: HTMLElement;
  private begun = 0;

  // Of elements NAME-share and NAME-left.
  constructor(name: string) {
    this.bar = byId<HTMLProgressElement>(`${name}-share`);
    this.left = byId(`${name}-left`);
  }

  begin(): void {
    this.begun = performance.now();
    this.bar.hidden = this.left.hidden = false;
    this.show(0);
    this.bar.scrollIntoView({ block: "nearest" });
  }

  show(share: number): void {
    this.bar.value = share;
    this.left.textContent = timeLeft(share, performance.now() - this.begun);
  }

  end(): void {
    this.bar.hidden = this.left.hidden = true;
  }
}
