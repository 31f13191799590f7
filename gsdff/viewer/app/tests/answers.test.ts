import { beforeEach, expect, test } from "vitest";
import { Answers } from "../src/answers";
import type { SceneData, Word } from "../src/data";
import type { Shown } from "../src/shown";
import type { Answer } from "../src/worker";

const [cup, lamp] = [{ name: "cup", vector: 0 }, { name: "lamp", vector: 1 }];

// A worker whose answers are given by hand, in any order.
class Worker {
  readonly waiting: { resolve(answer: Answer): void; reject(reason: string): void }[] = [];
  renewed: unknown = null;
  renew = (data: unknown) => void (this.renewed = data);
  score = () => this.ask();
  ask = () => new Promise<Answer>((resolve, reject) => this.waiting.push({ resolve, reject }));
  answer(number: number, value: number): void {
    this.waiting[number].resolve({ id: 0, milliseconds: 1, scores: Float32Array.of(value), threshold: 0.5, range: [0, 1] });
  }
}

let shown: Shown;
let worker: Worker;
let answers: Answers;
let unknown: Word[];
const on = { changed: () => undefined, named: () => undefined };
beforeEach(() => {
  unknown = [];
  shown = { mode: "colours", scores: null, threshold: 0, range: [0, 1] } as Shown;
  worker = new Worker();
  const words = { unknown: () => unknown, compare: () => ({ positives: [0], negatives: [1] }) };
  answers = new Answers({ classes: [] }, shown, words, worker, on);
});

test("an answer is shown under its own question", async () => {
  const asked = answers.search([cup, lamp], []);
  expect([answers.question, answers.pending]).toEqual(["", "cup or lamp"]);
  worker.answer(0, 0.9);
  await asked;
  expect([answers.question, answers.pending, shown.mode]).toEqual(["cup or lamp", "", "heat"]);
});

test("the answer to an earlier question that comes late is not shown", async () => {
  const first = answers.search([cup], []);
  const second = answers.search([lamp], []);
  worker.answer(1, 0.2);
  await second;
  worker.answer(0, 0.9);
  await first;
  expect(answers.question).toBe("lamp");
  expect(shown.scores![0]).toBeCloseTo(0.2);
});

test("a question that fails takes the old answer away and says why", async () => {
  const first = answers.search([cup], []);
  worker.answer(0, 0.9);
  await first;
  const second = answers.search([lamp], []);
  worker.waiting[1].reject("out of memory");
  await second;
  expect([shown.scores, shown.mode, answers.question, answers.pending]).toEqual([null, "colours", "", ""]);
  expect(answers.problem).toBe('"lamp" has no answer: out of memory');
});

test("a question with nothing to compare with is no question", async () => {
  answers = new Answers({ classes: [] }, shown, { unknown: () => [], compare: () => ({ positives: [0], negatives: [] }) }, worker, on);
  await answers.search([cup], []);
  expect(answers.problem).toContain("nothing to be compared with");
  expect(worker.waiting).toEqual([]);
});

test("the classes are asked for once, and again after a failure", async () => {
  const failing = answers.classify();
  worker.waiting[0].reject("stopped");
  expect(await failing).toBeNull();
  expect(answers.problem).toContain("stopped");
  const [first, second] = [answers.classify(), answers.classify()];
  worker.waiting[1].resolve({ id: 0, milliseconds: 1, labels: Uint8Array.of(0) });
  expect(await first).toBe(await second);
  expect(worker.waiting).toHaveLength(2);
});

test("a word without a vector is encoded first, and the old answer is gone meanwhile", async () => {
  const first = answers.search([cup], []);
  worker.answer(0, 0.9);
  await first;
  unknown = [lamp];
  const learned: Word[][] = [];
  answers.encode = async (words) => void learned.push(words);
  const second = answers.search([lamp], []);
  expect([shown.scores, answers.pending, answers.asked]).toEqual([null, "lamp", null]);
  await new Promise((done) => setTimeout(done));
  worker.answer(1, 0.4);
  await second;
  expect([learned, answers.question]).toEqual([[[lamp]], "lamp"]);
});

test("a word that cannot be encoded gives the reason and no answer", async () => {
  unknown = [lamp];
  answers.encode = () => Promise.reject(new Error("unknown name 'lamp'"));
  await answers.search([lamp], []);
  expect([answers.problem, shown.scores, answers.pending]).toEqual(["unknown name 'lamp'", null, ""]);
});

test("other Gaussians get the answer to what is asked, at the threshold that was chosen", async () => {
  const asked = answers.search([cup], []);
  worker.answer(0, 0.9);
  await asked;
  shown.threshold = 0.3;
  const data = {} as SceneData;
  const renewing = answers.renew(data);
  worker.answer(1, 0.4);
  answers.take(await renewing);
  expect([worker.renewed, shown.threshold, shown.labels]).toEqual([data, 0.3, null]);
  expect(shown.scores![0]).toBeCloseTo(0.4);
});

test("a question that comes while Gaussians are renewed keeps its own answer", async () => {
  const first = answers.search([cup], []);
  worker.answer(0, 0.9);
  await first;
  const renewing = answers.renew({} as SceneData);
  const second = answers.search([lamp], []);
  worker.answer(1, 0.4);
  worker.answer(2, 0.2);
  const renewed = await renewing;
  await second;
  answers.take(renewed);
  expect(answers.question).toBe("lamp");
  expect(shown.scores![0]).toBeCloseTo(0.2);
});
