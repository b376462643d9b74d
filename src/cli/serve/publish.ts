import type { Connection } from "../../client/connection.ts";
import { type NatsPublisher, type PublishOptions, publish } from "../../outlets/nats/publisher.ts";
import { lasting } from "../../overview/quantity.ts";
import type { ServeLog } from "./log.ts";
import { Outage } from "./outage.ts";

/** Starts to publish to NATS. The log has a line for each change of the connection to the server. */
export async function startPublisher(
  connection: Connection,
  options: PublishOptions,
  log: ServeLog,
): Promise<NatsPublisher> {
  const publisher = await publish(connection, options);
  const { url } = publisher;
  const outlet = { outlet: "nats", url };
  const outage = new Outage();
  publisher.onStatus(({ state, error }) => {
    if (error === undefined) {
      const outageMs = outage.end();
      const message = `${url} takes what is published again, after ${lasting(outageMs)}`;
      log.say("outlet-working", message, { ...outlet, outageMs });
    } else if (error.code !== "connection-closed") {
      outage.begin();
      log.fail("outlet-failing", error, state === "closed" ? "" : "; trying again", outlet);
    }
  });
  const intervalMs = options.intervalMs!;
  log.say("outlet-started", `publishing to ${url} every ${intervalMs / 1_000} s`, { ...outlet, intervalMs });
  return publisher;
}
