import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/build.ts"],
    // connect() loads the sampler for a driver that needs it; many tests make connections without connect().
    setupFiles: ["test/leaks.ts", "src/sampling/sampler.ts"],
    reporters: ["default", "./test/closing-line.ts"],
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
    // Tests start daemons and guests: two files at once are what a small machine bears.
    maxWorkers: 2,
  },
});
