// A press that does not move: a click or a tap, where a drag turns the scene.

// Pixels that a press may move, and how long it may last.
const MOST_MOVED = 6;
const MOST_MILLISECONDS = 500;

export function onTap(element: HTMLElement, tapped: (x: number, y: number) => void): void {
  let start: { x: number; y: number; time: number } | null = null;
  element.addEventListener("pointerdown", (event) => {
    // a second finger, or another button, is no tap
    start = event.isPrimary && event.button === 0 ? { x: event.clientX, y: event.clientY, time: event.timeStamp } : null;
  });
  element.addEventListener("pointerup", (event) => {
    if (!start) return;
    const moved = Math.hypot(event.clientX - start.x, event.clientY - start.y);
    if (moved <= MOST_MOVED && event.timeStamp - start.time <= MOST_MILLISECONDS) {
      tapped(event.clientX / window.innerWidth, event.clientY / window.innerHeight);
    }
    start = null;
  });
}
