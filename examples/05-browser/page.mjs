// What runs in the browser: a row per domain, when its record arrives.

import { connect } from "virstream/browser";

const progress = document.getElementById("progress");
const table = document.getElementById("domains");

const connection = await connect(new URLSearchParams(location.search).get("server"));
let expected = 0;
let seen = 0;
connection.stats({ deadlineMs: 1_000 }).events.subscribe({
  next(event) {
    if (event.type === "expect") expected = event.domains;
    if (event.type === "record") add(event.record);
    if (event.type === "sync") progress.dataset.done = "true";
    progress.textContent = `${seen} of ${expected} domains of ${connection.host}`;
  },
  error(error) {
    progress.textContent = `${error.message} [${error.code}]`;
  },
});

function add({ domain, state, params, status, reason }) {
  seen++;
  const row = table.insertRow();
  row.className = status;
  row.insertCell().textContent = domain.name;
  row.insertCell().textContent = state?.state ?? "-";
  const memory = row.insertCell();
  memory.className = "number";
  const kib = params.number("balloon.current");
  memory.textContent = kib === undefined ? "-" : Math.round(kib / 1024);
  row.insertCell().textContent = params.size;
  row.insertCell().textContent = reason ? `${status} (${reason})` : status;
}
