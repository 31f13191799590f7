// The scene that the file carries: a header in JSON and columns of numbers, deflated and in base64.

export type Column = { start: number; type: "uint8" | "uint16" | "int8" | "float32"; rows: number; columns: number };

// A word and the number of its vector; null if only the server knows it so far.
export type Word = { name: string; vector: number | null };

export type Start = { position: number[]; target: number[]; up: number[]; fovY: number };

// A thing of the scene; `size` are the sides of its box, longest first.
export type Thing = {
  id: number;
  name: string | null;
  score: number | null;
  count: number;
  size: number[];
  color: number[];
};

// What a file of edits does. Gaussians before it come first, then those that only the edited scene has.
export type Comparison = {
  edits: string[];
  numBefore: number;
  numAfter: number;
  // Of the edited scene; null is that of the scene before.
  background: number[] | null;
};

// A camera's flight: rows of position, looking direction, up direction and vertical field of view, evenly in time.
export type Tour = { seconds: number; frames: number[][] };

export type Header = {
  title: string;
  numGaussians: number;
  colorRange: [number, number];
  logScaleRange: [number, number];
  bandSteps: number[];
  latentStep: number;
  antialiased: boolean;
  background: number[];
  // Working frame: input's world = working * scale + centre.
  frame: { centre: number[]; scale: number };
  start: Start;
  words: Word[];
  // Vectors of the negatives of a query that names none: null are all but the positives'.
  defaultNegatives: Word[] | null;
  classes: { name: string; vector: number; color: number[] }[];
  things: Thing[];
  comparison: Comparison | null;
  tour: Tour | null;
  facts: [string, string][];
  columns: Record<string, Column>;
  // The server behind the page, known by a text, and the modes that it draws; null for a file.
  server: { scene: string; modes: string[] } | null;
};

export class SceneData {
  constructor(
    readonly header: Header,
    readonly bytes: Uint8Array,
  ) {}

  get numGaussians(): number {
    return this.header.numGaussians;
  }

  // Gaussians of the scene as it was trained, which come first; the others are those that an edit has made.
  get numBefore(): number {
    return this.header.comparison?.numBefore ?? this.header.numGaussians;
  }

  // Columns are stored one after another, which packs better; `at(row)` of column c is values[c * rows + row].
  column(name: string): { values: Uint8Array | Uint16Array | Int8Array | Float32Array; rows: number; columns: number } | null {
    const column = this.header.columns[name];
    if (!column) return null;
    const { start, rows, columns } = column;
    const length = rows * columns;
    const buffer = this.bytes.buffer as ArrayBuffer;
    const first = this.bytes.byteOffset + start;
    if (column.type === "float32") {
      return { values: new Float32Array(buffer.slice(first, first + 4 * length)), rows, columns };
    }
    if (column.type === "uint16") {
      return { values: new Uint16Array(buffer.slice(first, first + 2 * length)), rows, columns };
    }
    const Kind = column.type === "int8" ? Int8Array : Uint8Array;
    return { values: new Kind(buffer, first, length), rows, columns };
  }
}

export async function inflate(base64: string): Promise<Uint8Array> {
  const packed = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export async function readScene(document: Document): Promise<SceneData> {
  const text = (id: string) => document.getElementById(id)!.textContent!;
  return new SceneData(JSON.parse(text("scene-header")), await inflate(text("scene-columns")));
}

// Rows of bytes from columns of bytes.
export function rowsOf(values: Uint8Array, rows: number, columns: number, capacity: number): Uint8Array {
  const found = new Uint8Array(capacity * columns);
  for (let c = 0; c < columns; c++) {
    for (let row = 0, from = c * rows, to = c; row < rows; row++, from++, to += columns) found[to] = values[from];
  }
  return found;
}

// Whole numbers of `bits` bits each, the low ones first, in words of 32: Spark's layout of harmonics.
export function packBits(
  values: Int8Array,
  rows: number,
  columns: number,
  { bits, words, capacity }: { bits: number; words: number; capacity: number },
): Uint32Array {
  const packed = new Uint32Array(capacity * words);
  const mask = (1 << bits) - 1;
  for (let c = 0; c < columns; c++) {
    const bit = c * bits;
    const word = bit >> 5;
    const shift = bit & 31;
    const crosses = shift + bits > 32;
    for (let row = 0; row < rows; row++) {
      const value = values[c * rows + row] & mask;
      packed[row * words + word] |= value << shift;
      if (crosses) packed[row * words + word + 1] |= value >>> (32 - shift);
    }
  }
  return packed;
}
