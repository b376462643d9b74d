import { conform } from "./in-browser.ts";

addEventListener("message", ({ data }) => {
  conform(data).then(postMessage, (error) => postMessage([{ name: "all", error: String(error) }]));
});
