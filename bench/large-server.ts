import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openSimulated } from "../src/drivers/simulated/driver.ts";
import { serve } from "../src/server/server.ts";
import { RowBatch } from "../src/wire/columns/row-batch.ts";
import { SentSchemas } from "../src/wire/columns/schema-slots.ts";
import { pack } from "../src/wire/pack.ts";
import { profileOf } from "../src/wire/profile.ts";
import { answerCalls, peakMemory } from "./calls.ts";
import { listenPlain } from "./plain-socket.ts";
import { GROUPS, SHAPE } from "./records.ts";

registerDriver("test", openSimulated);

const calls = {
  /** Serves a simulated host with this number of domains. Returns the URL. */
  async stream(domains: number): Promise<string> {
    const connection = await connect(`test:///default?domains=${domains}&${SHAPE}`);
    return (await serve(connection, { port: 0, limits: { sweepsPerSecond: 1_000_000 } })).url;
  },
  /**
   * Serves the same host's sweep in one answer. It makes all records, then encodes all of them in the encoding
   * of the stream, and then sends them.
   */
  async batch(domains: number): Promise<string> {
    const connection = await connect(`test:///default?domains=${domains}&${SHAPE}`);
    const port = await listenPlain((socket) => {
      socket.on("message", async () => {
        const records = await connection.getAllDomainStats({ groups: GROUPS });
        const profile = profileOf("virstream.v1");
        const batch = new RowBatch();
        const messages: Uint8Array[] = [];
        const sent = new SentSchemas();
        for (const [i, record] of records.entries()) {
          batch.add(undefined, record);
          if (!batch.isFull && i < records.length - 1) continue;
          const rows = profile.rows({ id: 1 }, batch);
          batch.clear(rows.bytes);
          for (const { slot, schema } of sent.missing(rows.schemas)) {
            messages.push(
              profile.message({ type: "schema", slot, keys: schema!.keys, types: [...schema!.types] }) as Uint8Array,
            );
          }
          messages.push(...(rows.messages as Uint8Array[]));
        }
        // The answer is a packed list of all messages.
        socket.send(pack(messages));
      });
    });
    return `ws://127.0.0.1:${port}`;
  },
  memory: async (): Promise<number> => peakMemory(),
};
export type LargeServerCalls = typeof calls;

answerCalls(calls);
