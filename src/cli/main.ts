#!/usr/bin/env node
/** Loads the command line and runs it. Imports nothing itself: to load the program may fail, and a stack says little. */
const program = await import("./program.ts").catch(({ code, message }: NodeJS.ErrnoException) => {
  const advice = "raise it (ulimit -n 1024; for a service LimitNOFILE=). Otherwise install virstream again";
  process.stderr.write(
    `virstream: its own files cannot be loaded (${code ?? message}): if this process may open too few files, ${advice}\n`,
  );
});
process.exitCode = program === undefined ? 1 : await program.main(process.argv.slice(2));
