import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

/** The tests that measure processor time. They run when no other test does. */
const ALONE = ["test/page/main-thread.test.ts"];

const shared = {
  // connect() loads the sampler for a driver that needs it; many tests make connections without connect().
  setupFiles: ["test/leaks.ts", "src/sampling/sampler.ts"],
  // Guards against waiting for ever: on a loaded machine, the start of one process can take seconds.
  testTimeout: 120_000,
  hookTimeout: 120_000,
  tags: [
    {
      name: "any-node",
      description: "Its result does not depend on the version of Node: .ci/run has it on the main one only",
    },
  ],
  pool: "forks",
} satisfies TestProjectInlineConfiguration["test"];

export default defineConfig({
  test: {
    globalSetup: ["test/build.ts"],
    reporters: ["default", "./test/closing-line.ts"],
    projects: [
      {
        test: {
          ...shared,
          name: "together",
          include: ["test/**/*.test.ts"],
          exclude: ALONE,
          // Tests start daemons and guests: two files at once are what a small machine bears.
          maxWorkers: 2,
        },
      },
      { test: { ...shared, name: "alone", include: ALONE, maxWorkers: 1, sequence: { groupOrder: 1 } } },
    ],
  },
});
