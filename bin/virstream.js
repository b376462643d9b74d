#!/usr/bin/env node
// The command is this file and not a file of dist/, so that npx and npm link find it before the first build, too.

const LIMIT = "this process may open too few files: raise the limit (ulimit -n 1024; for a service LimitNOFILE=)";

try {
  await import("../dist/cli/main.js");
} catch (error) {
  // Some versions of Node wrap the error of the system in one of their own; some say only that a module is not found.
  if (/too many open files/.test(error.message)) console.error(`virstream: ${LIMIT}`);
  else if (error.code === "ERR_MODULE_NOT_FOUND") {
    console.error(`virstream: this checkout is not built, or not completely: run npm ci in it. Or ${LIMIT}`);
  } else throw error;
  process.exitCode = 1;
}
