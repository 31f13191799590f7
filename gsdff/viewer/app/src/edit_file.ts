// Edits as the files that `gsdff edit --edits` replays: a list in TOML, and a selection for each edit beside it.

import { zipSync } from "three/addons/libs/fflate.module.js";
import { toHex } from "./dom";
import type { Header } from "./data";
import type { ByText, Edit } from "./edits";
import type { Transform } from "./transform";

const FORMAT = "gsdff-selection-1";
const ALIGNMENT = 8;

// Bits of a selection, the first of each byte the highest, as numpy packs them.
export function packSelection(rows: Uint8Array, count: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(count / 8));
  for (let row = 0; row < count; row++) if (rows[row]) bits[row >> 3] |= 128 >> (row & 7);
  return bits;
}

// A selection of `count` Gaussians as a .safetensors file that gsdff reads.
export function selectionFile(rows: Uint8Array, count: number, source: string): Uint8Array {
  const bits = packSelection(rows, count);
  const header = JSON.stringify({
    __metadata__: { format: FORMAT, count: String(count), source },
    bits: { dtype: "U8", shape: [bits.length], data_offsets: [0, bits.length] },
  });
  const encoded = new TextEncoder().encode(header);
  const length = Math.ceil(encoded.length / ALIGNMENT) * ALIGNMENT;
  const file = new Uint8Array(8 + length + bits.length).fill(32, 8, 8 + length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.set(encoded, 8);
  file.set(bits, 8 + length);
  return file;
}

const fileOf = (number: number) => `edits_${number}.safetensors`;

export type Frame = Header["frame"];

// The numbers of a transform in the world of the photos' poses, by the keys that gsdff has for them.
export function inWorld(transform: Transform, { centre, scale }: Frame): Record<string, number | number[]> {
  const place = (point: number[]) => point.map((value, axis) => value * scale + centre[axis]);
  if (transform.operation === "move") return { translation: transform.translation.map((value) => value * scale) };
  if (transform.operation === "scale") return { factor: transform.factor, centre: place(transform.centre) };
  return { axis: transform.axis, degrees: transform.degrees, centre: place(transform.centre) };
}

const toToml = (value: number | number[]) => (Array.isArray(value) ? `[${value.join(", ")}]` : String(value));
// A word is of letters that JSON writes as TOML does, but for one.
const textsToToml = (texts: string[]) => `[${texts.map((text) => JSON.stringify(text).replace(/\x7f/g, "\\u007f")).join(", ")}]`;

// What words select, as `gsdff edit` finds it again.
const linesOf = ({ positives, negatives, threshold, rim }: ByText) => [
  `positives = ${textsToToml(positives)}`,
  ...(negatives.length ? [`negatives = ${textsToToml(negatives)}`] : []),
  `threshold = ${Number.isInteger(threshold) ? threshold.toFixed(1) : threshold}`,
  ...(rim ? [] : ["rim = false"]),
];

// How the edits of a page are replayed, of a file or else a run, which is anywhere.
export const replayOf = (file: string | null) => `gsdff edit ${file === null ? "RUN" : quoted(file)} --edits edits.toml`;

// A name for a shell, as one word.
const quoted = (name: string) => (/^[\w.,@%+=:-]+$/.test(name) ? name : `'${name.replace(/'/g, `'"'"'`)}'`);

// The list, with a selection by its words or else its file's name.
export function editList(edits: readonly Edit[], title: string, frame: Frame, file: string | null = null): string {
  const tables = edits.map(({ operation, count, color, transform, text }, i) =>
    [
      "[[edit]]",
      `operation = "${operation}"`,
      ...(text ? [`# ${count} Gaussians in the page`, ...linesOf(text)] : [`selection = "${fileOf(i + 1)}"  # ${count} Gaussians`]),
      ...(color ? [`color = "${toHex(color)}"`] : []),
      ...(transform ? Object.entries(inWorld(transform, frame)).map(([key, value]) => `${key} = ${toToml(value)}`) : []),
      "",
    ].join("\n"),
  );
  // a line break in a name would end the comment
  const comment = `# Edits made in the page of ${title}. Unpack, then: ${replayOf(file)}`.replace(/[\x00-\x1f\x7f]/g, " ");
  return [comment, "", ...tables].join("\n");
}

// Everything in one archive. Edits are of the first `count` Gaussians, those of the run.
export function editArchive(edits: readonly Edit[], count: number, { title, frame, file }: Pick<Header, "title" | "frame" | "file">): Uint8Array {
  const files: Record<string, Uint8Array> = { "edits.toml": new TextEncoder().encode(editList(edits, title, frame, file)) };
  edits.forEach(({ rows, text }, i) => {
    if (!text) files[fileOf(i + 1)] = selectionFile(rows, count, `edit ${i + 1} made in the page of ${title}`);
  });
  return zipSync(files, { level: 0 });
}
