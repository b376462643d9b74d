/** The parts of vitest that the obligations use, for a page: its own `expect`, and tests that run one after the other. */

import { type ExpectStatic, JestAsymmetricMatchers, JestChaiExpect, JestExtend } from "@vitest/expect";
import * as chai from "chai";
import type { Outcome } from "./page-server.ts";

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

export const expect = chai.expect as unknown as ExpectStatic;

type Work = () => unknown;
const before: Work[] = [];
const after: Work[] = [];
const tests: [name: string, run: Work][] = [];

export const beforeAll = (work: Work): void => void before.push(work);
export const afterAll = (work: Work): void => void after.push(work);
const test = (name: string, run: Work): void => void tests.push([name, run]);
export const it = Object.assign(test, {
  each: (rows: readonly unknown[]) => (name: string, run: (row: unknown) => unknown) => {
    for (const row of rows) test(name.replace("%s", String(row)), () => run(row));
  },
});

/** Runs what was registered. */
export async function runTests(): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const work of before) await work();
  for (const [name, run] of tests) {
    let error: string | undefined;
    try {
      await run();
    } catch (thrown) {
      error = String((thrown as Error).stack ?? thrown);
    }
    outcomes.push({ name, error });
  }
  for (const work of after) await work();
  return outcomes;
}
