import { conform, type SentSubject } from "./in-browser.ts";
import type { Outcome } from "./page-server.ts";

/** Called by the test. */
const run = (place: "page" | "worker", subject: SentSubject): Promise<Outcome[]> => {
  if (place === "page") return conform(subject);
  return new Promise((resolve, reject) => {
    const worker = new Worker("/worker.js", { type: "module" });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(subject);
  });
};
Object.assign(globalThis, { conform: run });
