// Keys, as in SuperSplat where it has the same, and the sheet that lists them.

import { byId, element } from "./dom";

export type Action =
  | "undo" | "redo" | "delete" | "invert" | "all" | "none" | "escape" | "frame" | "start" | "conceal" | "alone" | "reveal"
  | "move" | "box" | "lasso" | "brush" | "sphere" | "measure" | "smaller" | "larger" | "depth" | "gizmo"
  | "search" | "fold" | "tour" | "sheet" | `mode${number}`;

type Key = { action: Action; key: string; isCtrl?: boolean; isShift?: boolean; shown: string; text: string };

const MODE_KEYS = Array.from({ length: 8 }, (_, i) => i);

export const KEYS: Key[] = [
  { action: "undo", key: "z", isCtrl: true, shown: "Ctrl+Z", text: "undo" },
  { action: "redo", key: "z", isCtrl: true, isShift: true, shown: "Ctrl+Shift+Z", text: "redo" },
  { action: "delete", key: "delete", shown: "Del", text: "delete the selection" },
  { action: "invert", key: "i", isCtrl: true, shown: "Ctrl+I", text: "invert the selection" },
  { action: "all", key: "a", isCtrl: true, shown: "Ctrl+A", text: "select all" },
  { action: "none", key: "a", isCtrl: true, isShift: true, shown: "Ctrl+Shift+A", text: "select nothing" },
  { action: "escape", key: "escape", shown: "Esc", text: "leave the tool, then select nothing" },
  { action: "frame", key: "f", shown: "F", text: "look at the selection, or the whole" },
  { action: "start", key: "home", shown: "Home", text: "back to the first view" },
  { action: "conceal", key: "h", shown: "H", text: "hide the selection" },
  { action: "alone", key: "h", isShift: true, shown: "Shift+H", text: "show the selection alone" },
  { action: "reveal", key: "u", shown: "U", text: "show all that is hidden" },
  ...MODE_KEYS.map((i): Key => ({ action: `mode${i}`, key: String(i + 1), shown: String(i + 1), text: "" })),
  { action: "box", key: "r", shown: "R", text: "select by a box" },
  { action: "lasso", key: "l", shown: "L", text: "select by a lasso" },
  { action: "brush", key: "b", shown: "B", text: "select by a brush" },
  { action: "sphere", key: "o", shown: "O", text: "select by a sphere" },
  { action: "smaller", key: "[", shown: "[", text: "smaller brush" },
  { action: "larger", key: "]", shown: "]", text: "larger brush" },
  { action: "depth", key: "v", shown: "V", text: "visible only, or all depths" },
  { action: "gizmo", key: "g", shown: "G", text: "handles that move, turn and scale the selection" },
  { action: "measure", key: "m", shown: "M", text: "measure between two points" },
  { action: "search", key: "/", shown: "/", text: "search" },
  { action: "tour", key: " ", shown: "Space", text: "play or pause the tour" },
  { action: "fold", key: "p", shown: "P", text: "fold the panel" },
  { action: "sheet", key: "?", shown: "?", text: "this sheet" },
];

type Press = Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "shiftKey" | "altKey">;

// What a key means; null for nothing. A sign is one with or without shift, as keyboards differ.
export function actionOf(event: Press): Action | null {
  if (event.altKey) return null;
  const key = event.key.toLowerCase();
  const isCtrl = event.ctrlKey || event.metaKey;
  const isLetter = /^[a-z]$/.test(key);
  const found = KEYS.find(
    (entry) => entry.key === key && !!entry.isCtrl === isCtrl && (!isLetter || !!entry.isShift === event.shiftKey),
  );
  // Backspace deletes too: some keyboards have no Del
  if (!found && key === "backspace" && !isCtrl) return "delete";
  return found?.action ?? null;
}

// Whether keys are letters of a text there.
function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLTextAreaElement) return true;
  return target instanceof HTMLInputElement && !["range", "checkbox", "radio", "color"].includes(target.type);
}

// Calls the actions that there are, and shows the sheet.
export function listen(actions: Partial<Record<Action, () => void>>, modeNames: () => string[]): void {
  const sheet = byId<HTMLDialogElement>("sheet");
  const showSheet = () => {
    if (sheet.open) return sheet.close();
    const modes = modeNames();
    const rows = KEYS.filter(({ action }) => action === "sheet" || action in actions).flatMap(({ action, shown, text }) => {
      const name = action.startsWith("mode") ? modes[Number(action.slice(4))] : text;
      return name ? [element("dt", "", shown), element("dd", "", name)] : [];
    });
    byId("keys").replaceChildren(...rows);
    sheet.showModal();
  };
  byId("sheet-button").addEventListener("click", showSheet);
  byId("sheet-close").addEventListener("click", () => sheet.close());
  window.addEventListener("keydown", (event) => {
    if (isTyping(event.target)) return;
    const action = actionOf(event);
    if (!action || (sheet.open && action !== "sheet")) return;
    // a button that has the focus is pressed by Space
    if (action === "tour" && event.target !== document.body) return;
    const act = action === "sheet" ? showSheet : actions[action];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
