// What the page and its server say to one another, as gsdff/viewer/wire/messages.py has it, and the socket for it.

import { zlibSync } from "three/addons/libs/fflate.module.js";
import type { Header } from "./data";
import { packSelection } from "./edit_file";
import type { ByText, Edit } from "./edits";
import type { Transform } from "./transform";

// Camera in the working frame, of OpenCV axes; lengths are shares of the picture's sides.
export type View = {
  position: number[];
  wxyz: number[];
  focal: number[];
  centre: number[];
  width: number;
  height: number;
};

export type Question = {
  positives: string[];
  negatives: string[];
  threshold: number;
  // Scores between which colours are shown, and the colours from the lowest to the highest.
  score_range: [number, number];
  colors: number[][];
  // Latent feature of an example, in place of positives.
  like?: number[];
};

// What is on screen; `hidden` and `marked` are bits of Gaussians in base64.
export type Scenery = {
  mode: string;
  question?: Question;
  classes?: string[];
  class_colors?: number[][];
  hidden?: string;
  marked?: string;
  edits?: HandEdit[];
  version?: number;
};

// Bits of an edit's Gaussians, deflated, in base64: no other bits may be mistaken for them.
export type Packed = string & { readonly isDeflated: true };

// An edit; places and lengths are those of the working frame.
export type HandEdit = { operation: Edit["operation"]; rows: Packed; color?: number[]; text?: ByText } & Partial<Omit<Transform, "operation">>;

export type Request =
  | { type: "encode"; texts: string[] }
  | { type: "name_classes"; names: string[] }
  | { type: "draw"; window: View; scenery?: Scenery; beside?: Scenery }
  | { type: "save_picture"; window: View; scenery: Scenery; beside?: Scenery }
  | { type: "find_similar"; window: View; scenery: Scenery; place: number[] }
  | { type: "modify"; selected: string; hidden: string; how: string; version: number }
  | { type: "fly"; keyframes: View[]; seconds: number }
  | { type: "save_film"; keyframes: View[]; seconds: number; scenery: Scenery }
  | { type: "save_scene"; edits: HandEdit[]; selected?: string }
  | { type: "save_page"; window: View; edits: HandEdit[]; classes: string[] }
  | { type: "stop" }
  | { type: "fetch"; saved: number; place: number }
  | { type: "save_selection"; selected: string }
  | { type: "save_edits"; edits: HandEdit[] }
  | { type: "follow"; scene: string; version: number; holds: boolean }
  | { type: "pause"; is_paused: boolean };

// Progress of a training; with a header, newer Gaussians come after it.
export type Training = {
  type: "training";
  id: number;
  lines: string[];
  share: number;
  is_paused: boolean;
  is_other: boolean;
  losses: [number, number][];
  psnrs: [number, number][];
  version: number;
  header: Partial<Header> | null;
};

export type Answer =
  | { type: "hello"; scene: string }
  | { type: "vectors"; id: number; vectors: number[][] }
  | { type: "pictured"; id: number; mode: string; width: number; height: number; is_whole: boolean }
  | Training
  | { type: "done"; id: number }
  | { type: "saved"; id: number; path: string; hint: string; names: string[] }
  | { type: "named_classes"; id: number; vectors: number[][]; colors: number[][] }
  | { type: "progressed"; id: number; share: number }
  | { type: "part"; id: number; is_last: boolean }
  | { type: "flown"; id: number; seconds: number; frames: number[][] }
  | { type: "scored"; id: number; latents: number[]; threshold: number; score_range: [number, number] }
  | { type: "selected"; id: number }
  | { type: "failed"; id: number | null; text: string };

export type Listener = {
  answer(answer: Answer, payload: Uint8Array<ArrayBuffer>): void;
  open(isOpen: boolean): void;
};

const AGAIN_AFTER = 2000;

// A message with bytes after its JSON, whose length is in the first four.
export function readMessage(data: string | ArrayBuffer): { answer: Answer; payload: Uint8Array<ArrayBuffer> } {
  if (typeof data === "string") return { answer: JSON.parse(data), payload: new Uint8Array() };
  const length = new DataView(data).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(data, 4, length));
  return { answer: JSON.parse(text), payload: new Uint8Array(data, 4 + length) };
}

// Bits of the rows for which a condition holds, the first one first, in base64; "" if there are none.
export function bitsOf(count: number, holds: (row: number) => boolean): string {
  const bytes = new Uint8Array(Math.ceil(count / 8));
  let any = false;
  for (let row = 0; row < count; row++) {
    if (!holds(row)) continue;
    bytes[row >> 3] |= 128 >> (row & 7);
    any = true;
  }
  return any ? toBase64(bytes) : "";
}

function toBase64(bytes: Uint8Array): string {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 8192) letters += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(letters);
}

const packed = new WeakMap<Uint8Array, Packed>();

// The bits of an edit's rows, which never change, deflated: of hundreds of edits each is of few Gaussians.
export function packRows(rows: Uint8Array): Packed {
  let found = packed.get(rows);
  if (found === undefined) {
    found = toBase64(zlibSync(packSelection(rows, rows.length))) as Packed;
    packed.set(rows, found);
  }
  return found;
}

// The rows of bits, as 0 or 1 each.
export function rowsOfBits(bytes: Uint8Array, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, row) => (bytes[row >> 3] >> (7 - (row & 7))) & 1);
}

export class Wire {
  private socket: WebSocket | null = null;
  private last = 0;

  constructor(
    private readonly url: string,
    private readonly listener: Listener,
    // Of one request: the server reads none with more edits, and closes the connection over one that is longer.
    private readonly most: { edits: number; bytes: number },
  ) {
    this.connect();
  }

  get isOpen(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  // Sends a request; gives its number, which its answer has.
  ask(request: Request): number {
    const id = ++this.last;
    const { edits, scenery } = request as { edits?: HandEdit[]; scenery?: Scenery };
    const text = JSON.stringify({ ...request, id });
    if ((edits ?? scenery?.edits ?? []).length > this.most.edits) this.refuse(id, `it takes at most ${this.most.edits} edits`);
    else if (new TextEncoder().encode(text).length > this.most.bytes) this.refuse(id, "these edits are too large for it");
    else this.socket?.send(text);
    return id;
  }

  private refuse(id: number, reason: string): void {
    const text = `${reason}; save them to this computer`;
    queueMicrotask(() => this.listener.answer({ type: "failed", id, text }, new Uint8Array()));
  }

  private connect(): void {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.listener.open(true);
    socket.onclose = () => {
      this.listener.open(false);
      setTimeout(() => this.connect(), AGAIN_AFTER);
    };
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      const { answer, payload } = readMessage(event.data);
      this.listener.answer(answer, payload);
    };
    this.socket = socket;
  }
}
