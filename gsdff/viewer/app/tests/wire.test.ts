import { unzlibSync } from "three/addons/libs/fflate.module.js";
import { expect, test, vi } from "vitest";
import { type Answer, type Packed, Wire, bitsOf, packRows, readMessage, rowsOfBits } from "../src/wire";

test("bits are the rows that they are asked for, the first one first", () => {
  expect(bitsOf(10, (row) => row === 0 || row === 9)).toBe(btoa("\x80\x40"));
  expect(bitsOf(16, () => true)).toBe(btoa("\xff\xff"));
  expect(bitsOf(10, () => false)).toBe("");
});

test("many bits are in one text", () => {
  const text = atob(bitsOf(100_001, (row) => row === 100_000));
  expect(text).toHaveLength(12_501);
  expect(text.charCodeAt(12_500)).toBe(0x80);
});

test("a message is an answer, or an answer and the bytes after it", () => {
  const text = '{"type":"pictured","id":3,"mode":"depth","width":4,"height":3,"is_whole":true}';
  expect(readMessage(text)).toEqual({ answer: JSON.parse(text), payload: new Uint8Array() });
  const bytes = new Uint8Array([text.length, 0, 0, 0, ...new TextEncoder().encode(text), 7, 8]);
  expect(readMessage(bytes.buffer)).toEqual({ answer: JSON.parse(text), payload: new Uint8Array([7, 8]) });
});

test("rows of an edit are bits, deflated: few of many take little", () => {
  const rows = Uint8Array.from({ length: 200_000 }, (_, row) => (row % 40_000 === 7 ? 1 : 0));
  const bytes = Uint8Array.from(atob(packRows(rows)), (letter) => letter.charCodeAt(0));
  expect([...rowsOfBits(unzlibSync(bytes), rows.length)]).toEqual([...rows]);
  expect(packRows(rows).length).toBeLessThan(200);
});

test("a request with more than the server reads fails by its number, and is not sent", async () => {
  const sent: string[] = [];
  vi.stubGlobal("WebSocket", class { send = (text: string) => sent.push(text); });
  const failed: Answer[] = [];
  const most = { edits: 64, bytes: 10_000 };
  const wire = new Wire("ws://here", { answer: (answer) => failed.push(answer), open: () => undefined }, most);
  const edits = Array.from({ length: 65 }, () => ({ operation: "delete" as const, rows: "gA==" as Packed }));
  const number = wire.ask({ type: "save_edits", edits });
  expect(failed).toEqual([]);
  await Promise.resolve();
  expect(failed).toMatchObject([{ type: "failed", id: number }]);
  wire.ask({ type: "save_edits", edits: edits.slice(1) });
  expect(sent).toHaveLength(1);
  wire.ask({ type: "save_edits", edits: [{ operation: "delete", rows: "A".repeat(10_000) as Packed }] });
  await Promise.resolve();
  expect([sent.length, failed.length]).toEqual([1, 2]);
  vi.unstubAllGlobals();
});
