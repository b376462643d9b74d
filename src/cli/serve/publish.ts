import type { Connection } from "../../client/connection.ts";
import { type NatsPublisher, type PublishOptions, publish } from "../../outlets/nats/publisher.ts";
import { notify } from "../notify.ts";

/** Starts to publish to NATS. The log has a line for each change of the connection to the server. */
export async function startPublisher(connection: Connection, options: PublishOptions): Promise<NatsPublisher> {
  const publisher = await publish(connection, options);
  const { url } = publisher;
  publisher.onStatus(({ state, error }) => {
    if (error === undefined) notify(`${url} takes what is published again`);
    else notify(`${error.message} [${error.code}]${state === "closed" ? "" : "; trying again"}`);
  });
  notify(`publishing to ${url} every ${options.intervalMs! / 1_000} s`);
  return publisher;
}
