import { once } from "node:events";
import { serve as startServer } from "../server/server.ts";
import type { ServeArguments } from "./arguments.ts";
import { openSource, readToken } from "./source.ts";
import { ExitCode } from "./usage.ts";

/** `virstream serve`: serves until it is interrupted. The URL goes to stdout, everything else to stderr. */
export async function serve(args: ServeArguments, signal: AbortSignal): Promise<number> {
  const { stdout, stderr } = process;
  const token = await readToken(args.tokenFile, process.env);
  await using connection = await openSource(args.uri, undefined, signal, (notice) =>
    stderr.write(`virstream: ${notice}\n`),
  );
  connection.driver.onConnection = (lost) => {
    const what = lost === undefined ? "connected again" : `connection lost, connecting again: ${lost.message}`;
    stderr.write(`virstream: ${connection.uri}: ${what}\n`);
  };
  await using server = await startServer(connection, {
    host: args.host,
    port: args.port,
    allowAnyone: args.allowAnyone,
    origins: args.origins,
    ...(token === undefined ? {} : { token }),
  });
  stderr.write(`virstream: serving ${connection.uri} of host ${connection.host}; interrupt to end\n`);
  stdout.write(`${server.url}\n`);
  if (!signal.aborted) await once(signal, "abort");
  return ExitCode.ok;
}
