import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { type Entry, serveParent } from "./member.ts";

/**
 * Watches all hosts, and keeps what it had of each host. The argument of the program is the URL of the NATS servers.
 */
const connection = await connect(process.argv[2]!);
const hosts: Record<string, Entry[]> = {};
const newest: Record<string, number> = {};
const entriesOf = (host: string): Entry[] => {
  hosts[host] ??= [];
  return hosts[host];
};
void connection.watch({}, { intervalMs: 1_000 }).events.forEach((event) => {
  if (event.type === "gap") {
    const names = event.host === undefined ? Object.keys(hosts) : [event.host];
    for (const host of names) entriesOf(host).push({ gap: event.skipped ?? null });
  } else if (event.type === "sync") {
    entriesOf(event.host).push(event.summary.startedAt);
    newest[event.host] = event.summary.startedAt;
  }
});
setInterval(() => process.send!({ newest }), 50);
serveParent(() => hosts);
