// Runs in the browser: a table with one row per domain, updated whenever a record arrives.

import { connect } from "virstream/browser";
import { RateMeter } from "virstream/rates";

const progress = document.getElementById("progress");
const table = document.getElementById("domains");

const connection = await connect(new URLSearchParams(location.search).get("server"));
const meter = new RateMeter();
const rows = new Map();
connection.watch({ deadlineMs: 500 }).events.subscribe({
  next(event) {
    if (event.type === "record") show(meter.take(event.record));
    if (event.type === "gone") forget(event.domain);
    if (event.type === "gap") meter.gap(event.host);
    if (event.type === "status") progress.textContent = `${event.state}: ${event.error?.message ?? connection.host}`;
    if (event.type === "sync") {
      const { domains, ok } = event.summary;
      progress.textContent = `sweep ${event.tick}: ${ok} of ${domains} domains of ${event.host} are complete`;
      progress.dataset.sweeps = event.tick;
    }
  },
  error(error) {
    progress.textContent = `${error.message} [${error.code}]`;
  },
});

function show({ record, cpu }) {
  const { domain, state, params, status, reason } = record;
  const row = rows.get(domain.uuid) ?? table.insertRow();
  rows.set(domain.uuid, row);
  const kib = params.number("balloon.current");
  row.className = status;
  row.replaceChildren();
  cell(row, domain.name);
  cell(row, state?.state ?? "-");
  cell(row, cpu.percent?.toFixed(1) ?? "-", "number");
  cell(row, kib === undefined ? "-" : Math.round(kib / 1024), "number");
  cell(row, params.size, "number");
  cell(row, reason ? `${status} (${reason})` : status);
}

function cell(row, content, className = "") {
  const cell = row.insertCell();
  cell.className = className;
  cell.textContent = content;
}

function forget(domain) {
  meter.forget(domain);
  rows.get(domain.uuid)?.remove();
  rows.delete(domain.uuid);
}
