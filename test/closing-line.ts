import type { Reporter, TestModule } from "vitest/node";

/**
 * Ends the output with what was skipped, by name and with the command that installs what is missing, and with one plain
 * line that any program can read: `N passed, N failed, N skipped`.
 */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    let passed = 0;
    let failed = 0;
    let skipped = 0;
    for (const module of modules) {
      // A file or a group that could not even be set up has no results to count, and is a failure all the same.
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed++;
        else if (state === "failed") failed++;
        else skipped++;
      }
    }
    for (const title of skippedSuites(modules)) process.stdout.write(`\nskipped: ${title}`);
    process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  }
}

/** The suites that say what they need and do not have. */
function skippedSuites(modules: readonly TestModule[]): Set<string> {
  const titles = modules.flatMap((module) => [...module.children.allSuites()].map((suite) => suite.name));
  return new Set(titles.filter((title) => /\[needs .*\]$/.test(title)));
}
