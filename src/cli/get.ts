import { once } from "node:events";
import { groupMask } from "../model/group.ts";
import type { GetArguments } from "./arguments.ts";
import { createFormat } from "./format/formats.ts";
import { complaint } from "./format/notice.ts";
import { Progress } from "./progress.ts";
import { notify, openSource, readToken } from "./source.ts";
import { ExitCode, INTERRUPTED } from "./usage.ts";

/** `virstream get`: prints one record of every domain as it arrives. Resolves with the exit code. */
export async function get(args: GetArguments, signal: AbortSignal): Promise<number> {
  const { stdout, stderr } = process;
  const interactive = stdout.isTTY === true && stderr.isTTY === true;
  const progress = new Progress(stderr, () => performance.now());
  const token = await readToken(args.tokenFile, process.env);
  await using connection = await openSource(args.uri, token, signal);

  const groups = groupMask(args.query.groups);
  const format = createFormat(args.format, { groups, hosts: connection.host.includes(",") });
  const print = async (text: string): Promise<void> => {
    if (text !== "" && !stdout.write(text)) await once(stdout, "drain", { signal });
  };
  let took = 0;
  let begun = false;
  try {
    for await (const events of connection.stats(args.query, { signal }).events.chunks()) {
      let text = "";
      for (const event of events) {
        if (event.type === "expect") {
          progress.expect(event.domains);
          continue;
        }
        if (!begun) text += format.begin();
        begun = true;
        if (event.type === "sync") {
          took = event.summary.tookMs;
          continue;
        }
        progress.add(event.record);
        text += format.record(event.record);
        // virsh's output cannot show what is missing of a domain.
        const complained = args.format === "virsh" ? complaint(event.record) : undefined;
        if (complained !== undefined) notify(complained);
      }
      if (interactive) progress.hide();
      await print(text);
      if (interactive) progress.show();
    }
  } finally {
    progress.hide();
    // An output that was cut short must not look complete.
    if (signal.reason === INTERRUPTED) notify(`interrupted after ${progress.text}`);
    // Also after a failure: the records that arrived are printed, and an array of JSON is closed.
    if (begun && !signal.aborted) await print(format.end());
  }
  if (interactive) stderr.write(`${progress.text} in ${(took / 1000).toFixed(2)} s\n`);
  return progress.incomplete ? ExitCode.incomplete : ExitCode.ok;
}
