import type { Connection } from "../../client/connection.ts";
import type { ConnectionStatus } from "../../driver/driver.ts";
import { entryOf } from "../../driver/memo.ts";
import { lasting } from "../../overview/quantity.ts";
import type { VirstreamServer } from "../../server/server.ts";
import { sourceText } from "../format/notice.ts";
import type { ServeEvent, ServeLog } from "./log.ts";
import { Outage } from "./outage.ts";

/** The time between two checks of the server's health for the log, in ms. */
const HEALTH_CHECK_MS = 1_000;

/** Logs which hosts are absent at first, and then each change of a host's state. */
export async function logStatus(connection: Connection, log: ServeLog): Promise<void> {
  const sources = new Map<string | undefined, { readonly outage: Outage; wasThere: boolean }>();
  const say = ({ state, host, uri, error }: ConnectionStatus): void => {
    if (error?.code === "connection-closed") return;
    const name = uri === undefined ? connection.uri : host;
    const source = entryOf(sources, uri, () => ({ outage: new Outage(), wasThere: false }));
    const { outage, wasThere } = source;
    const because = (event: ServeEvent, what: string): void =>
      log.say(event, sourceText(name, what, error), { source: name, code: error?.code });
    if (state === "removed") {
      sources.delete(uri);
      log.say("source-removed", `${uri ?? name}: removed`, { source: uri ?? name });
    } else if (error === undefined) {
      source.wasThere = true;
      if (!outage.isUnderWay) return;
      const outageMs = outage.end();
      const how = wasThere ? "connected again" : "connected for the first time";
      log.say("source-back", `${name}: ${how}, after ${lasting(outageMs)}`, { source: name, outageMs });
    } else if (state === "closed") because("source-ended", "connection lost for good");
    else {
      const isNew = !outage.isUnderWay;
      outage.begin();
      if (!wasThere) because("source-absent", "not there yet");
      else if (isNew) because("source-lost", "connection lost, connecting again");
      else because("source-lost", "still lost");
    }
  };
  await connection.status.forEach(say);
}

/**
 * Logs when hosts stop sending statistics although they are connected, and when they send them again. Returns a
 * function that ends this.
 */
export function logHealth(server: VirstreamServer, connection: Connection, log: ServeLog): () => void {
  const outage = new Outage();
  let before = server.health().sourcesAbsent;
  const timer = setInterval(() => {
    const { sourcesAbsent } = server.health();
    // The log has a line for each lost connection already.
    if (sourcesAbsent === before || (connection.driver.absent?.length ?? 0) > 0) return;
    before = sourcesAbsent;
    if (sourcesAbsent === 0) {
      const outageMs = outage.end();
      log.say("source-working", `the watched hosts give statistics again, after ${lasting(outageMs)}`, { outageMs });
      return;
    }
    outage.begin();
    const hosts = sourcesAbsent === 1 ? "a watched host fails" : `${sourcesAbsent} watched hosts fail`;
    log.say("source-failing", `${hosts} every record: see /healthz`, { hosts: sourcesAbsent });
  }, HEALTH_CHECK_MS);
  return () => clearInterval(timer);
}
