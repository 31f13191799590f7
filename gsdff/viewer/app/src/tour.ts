// A camera's flight through the scene: played, paused, and scrubbed by a slider.

import type { Tour } from "./data";

export type Pose = { position: number[]; forward: number[]; up: number[]; fovY: number };

// The pose at a time, between the frames next to it.
export function poseAt({ seconds, frames }: Tour, time: number): Pose {
  const at = (Math.min(Math.max(time / seconds, 0), 1) || 0) * (frames.length - 1);
  const low = Math.min(Math.floor(at), Math.max(frames.length - 2, 0));
  const [a, b] = [frames[low], frames[Math.min(low + 1, frames.length - 1)]];
  const row = a.map((value, i) => value + (at - low) * (b[i] - value));
  return { position: row.slice(0, 3), forward: row.slice(3, 6), up: row.slice(6, 9), fovY: row[9] };
}

const byId = (id: string) => document.getElementById(id)!;

export class TourBar {
  private readonly slider = byId("tour-time") as HTMLInputElement;
  private time = 0;
  private last: number | null = null;

  constructor(
    private readonly tour: Tour | null,
    private readonly fly: (pose: Pose) => void,
  ) {
    byId("tour").hidden = tour === null;
    if (!tour) return;
    this.slider.max = String(tour.seconds);
    byId("tour-play").addEventListener("click", () => (this.last === null ? this.play() : this.pause()));
    this.slider.addEventListener("input", () => {
      this.pause();
      this.go(Number(this.slider.value));
    });
    this.show();
  }

  get isPlaying(): boolean {
    return this.last !== null;
  }

  play(): void {
    if (this.time >= this.tour!.seconds) this.time = 0;
    this.last = performance.now();
    this.show();
    requestAnimationFrame((now) => this.step(now));
  }

  pause(): void {
    this.last = null;
    this.show();
  }

  private step(now: number): void {
    if (this.last === null) return;
    // the first frame may be older than the click
    this.go(this.time + Math.max(now - this.last, 0) / 1000);
    this.last = now;
    if (this.time >= this.tour!.seconds) this.pause();
    else requestAnimationFrame((next) => this.step(next));
  }

  private go(time: number): void {
    this.time = Math.min(time, this.tour!.seconds);
    this.fly(poseAt(this.tour!, this.time));
    this.show();
  }

  private show(): void {
    if (!this.tour) return;
    const play = byId("tour-play");
    play.textContent = this.isPlaying ? "pause" : "play tour";
    play.setAttribute("aria-pressed", String(this.isPlaying));
    this.slider.value = String(this.time);
    byId("tour-clock").textContent = `${this.time.toFixed(0)} / ${this.tour.seconds.toFixed(0)} s`;
  }
}
