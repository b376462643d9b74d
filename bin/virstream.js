#!/usr/bin/env node
// The command is this file and not a file of dist/, so that npx and npm link find it before the first build, too.

try {
  await import("../dist/cli/main.js");
} catch (error) {
  if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
  console.error("virstream: this checkout is not built, or not completely: run npm ci in it");
  process.exitCode = 1;
}
