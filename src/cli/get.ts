import { once } from "node:events";
import { groupMask } from "../model/group.ts";
import type { GetArguments } from "./arguments.ts";
import { createFormat } from "./format/formats.ts";
import { complaint } from "./format/notice.ts";
import { Progress } from "./progress.ts";
import { openSource, readToken } from "./source.ts";
import { ExitCode, INTERRUPTED } from "./usage.ts";

/** `virstream get`: prints one record of every domain as it arrives. Resolves with the exit code. */
export async function get(args: GetArguments, signal: AbortSignal): Promise<number> {
  const { stdout, stderr } = process;
  const interactive = stdout.isTTY === true && stderr.isTTY === true;
  const progress = new Progress(stderr, () => performance.now());
  const token = await readToken(args.tokenFile, process.env);
  await using connection = await openSource(args.uri, token, signal, (notice) =>
    stderr.write(`virstream: ${notice}\n`),
  );

  const format = createFormat(args.format, groupMask(args.query.groups), connection.host.includes(","));
  const print = async (text: string): Promise<void> => {
    if (text !== "" && !stdout.write(text)) await once(stdout, "drain", { signal });
  };
  let took = 0;
  let begun = false;
  const begin = (): string => {
    if (begun) return "";
    begun = true;
    return format.begin();
  };
  try {
    for await (const events of connection.stats(args.query, { signal }).events.chunks()) {
      let text = "";
      for (const event of events) {
        if (event.type === "expect") progress.expect(event.domains);
        else if (event.type === "sync") {
          took = event.summary.tookMs;
          text += begin();
        } else {
          progress.add(event.record);
          text += begin() + format.record(event.record);
          // virsh's output has no place for what is missing of a domain: it is told beside it.
          const complained = args.format === "virsh" ? complaint(event.record) : undefined;
          if (complained !== undefined) stderr.write(`virstream: ${complained}\n`);
        }
      }
      if (interactive) progress.hide();
      await print(text);
      if (interactive) progress.show();
    }
  } finally {
    progress.hide();
    // What was printed must not look whole when it is not.
    if (signal.reason === INTERRUPTED) stderr.write(`virstream: interrupted after ${progress.text}\n`);
    // Also after a failure: what arrived is printed whole, and JSON that was begun stays JSON.
    if (begun && !signal.aborted) await print(format.end());
  }
  if (interactive) stderr.write(`${progress.text} in ${(took / 1000).toFixed(2)} s\n`);
  return progress.incomplete ? ExitCode.incomplete : ExitCode.ok;
}
