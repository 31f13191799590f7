// The scene that the file carries: a header in JSON and columns of numbers, deflated and in base64.

export type Column = { start: number; type: "uint8" | "uint16" | "int8" | "float32"; rows: number; columns: number };

const BYTES: Record<Column["type"], number> = { uint8: 1, int8: 1, uint16: 2, float32: 4 };

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
  // The file that the scene is from; null for a run.
  file: string | null;
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
  server: Server | null;
};

// `version` is the state of a scene that trains; `draws` is whether the server draws while the camera moves, too; `folder` is
// the one where files are saved, `most` what one request may have.
export type Server = {
  scene: string;
  version: number;
  modes: string[];
  isTraining: boolean;
  draws: boolean;
  folder: string;
  most: { edits: number; bytes: number };
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

// Letters of base64 that are decoded at a time: a whole number of groups of four.
const LETTERS = 1 << 22;

// Inflates as it decodes; `size` is the number of bytes that come out.
export async function inflate(base64: string, size: number): Promise<Uint8Array> {
  const { writable, readable } = new DecompressionStream("deflate");
  const found = new Uint8Array(size);
  const [length] = await Promise.all([readInto(found, readable), write(base64, writable)]);
  if (length !== size) throw new Error(`it has ${length} bytes of ${size}`);
  return found;
}

async function write(base64: string, writable: WritableStream<BufferSource>): Promise<void> {
  const writer = writable.getWriter();
  for (let at = 0; at < base64.length; at += LETTERS) await writer.write(decode(base64.slice(at, at + LETTERS)));
  await writer.close();
}

async function readInto(found: Uint8Array, readable: ReadableStream<Uint8Array>, report?: (length: number) => void): Promise<number> {
  const reader = readable.getReader();
  let length = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    found.set(part.value, length);
    length += part.value.length;
    report?.(length);
  }
  return length;
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// Columns that are not of the Gaussians.
const LASTING = ["vectors", "cameras"];

// Other Gaussians of a scene, with what stays as it was: words, cameras, the start view.
export class RenewedData extends SceneData {
  constructor(
    private readonly first: SceneData,
    header: Partial<Header>,
    bytes: Uint8Array,
  ) {
    super({ ...first.header, ...header }, bytes);
  }

  override column(name: string): ReturnType<SceneData["column"]> {
    return super.column(name) ?? (LASTING.includes(name) ? this.first.column(name) : null);
  }
}

export async function inflateBytes(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Reads the scene of a page: its file holds all, its server is asked for the columns. `report` is told the share that has come.
export async function readScene(document: Document, report: (share: number) => void): Promise<SceneData> {
  const text = (id: string) => document.getElementById(id)!.textContent!;
  const header: Header = JSON.parse(text("scene-header"));
  const size = Math.max(...Object.values(header.columns).map(({ start, type, rows, columns }) => start + BYTES[type] * rows * columns));
  const { server } = header;
  return new SceneData(header, server ? await fetchColumns(server, size, report) : await inflate(text("scene-columns").trim(), size));
}

async function fetchColumns({ scene, version }: Server, size: number, report: (share: number) => void): Promise<Uint8Array> {
  const response = await fetch(`?columns=${scene}.${version}`);
  if (!response.ok) throw new Error(await response.text());
  const found = new Uint8Array(size);
  const length = await readInto(found, response.body!, (length) => report(length / size));
  if (length !== size) throw new Error(`${length} bytes of ${size} have come; load the page again`);
  return found;
}

// Rows that are made at a time, so that they stay near the processor.
const CHUNK = 4096;

// Rows of bytes from columns of bytes.
export function rowsOf(values: Uint8Array, rows: number, columns: number, capacity: number): Uint8Array {
  const found = new Uint8Array(capacity * columns);
  for (let first = 0; first < rows; first += CHUNK) {
    const last = Math.min(first + CHUNK, rows);
    for (let c = 0; c < columns; c++) {
      for (let row = first, from = c * rows + first, to = first * columns + c; row < last; row++, from++, to += columns) {
        found[to] = values[from];
      }
    }
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
  for (let first = 0; first < rows; first += CHUNK) {
    const last = Math.min(first + CHUNK, rows);
    for (let c = 0; c < columns; c++) {
      const [word, shift] = [(c * bits) >> 5, (c * bits) & 31];
      const crosses = shift + bits > 32;
      for (let row = first, from = c * rows + first, to = first * words + word; row < last; row++, from++, to += words) {
        const value = values[from] & mask;
        packed[to] |= value << shift;
        if (crosses) packed[to + 1] |= value >>> (32 - shift);
      }
    }
  }
  return packed;
}
