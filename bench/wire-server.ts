import { Connection } from "../src/client/connection.ts";
import { serve } from "../src/server/server.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { serveGrpc } from "./wire-grpc.ts";
import { serveJson } from "./wire-json.ts";
import { servePipe } from "./wire-pipe.ts";
import { PreparedDriver, wireRecords } from "./wire-source.ts";

/** Ways to stream records from one process to another. */
export type Transport = "virstream" | "grpc" | "grpc-number" | "grpc-tuned" | "json" | "pipe";

const driver = new PreparedDriver();

const calls = {
  /** Starts to serve. Returns the port. */
  async listen(transport: Transport): Promise<number> {
    const records = await wireRecords();
    switch (transport) {
      case "virstream": {
        driver.prepare(records);
        const server = await serve(new Connection(driver), { port: 0, limits: { sweepsPerSecond: 1_000_000 } });
        return Number(new URL(server.url).port);
      }
      case "grpc":
        return serveGrpc(records, "exact");
      case "grpc-number":
        return serveGrpc(records, "number");
      case "grpc-tuned":
        return serveGrpc(records, "tuned");
      case "json":
        return serveJson(records);
      case "pipe":
        return servePipe(records);
    }
  },
  /** Sets the number of records of virstream's next sweeps, because a query cannot contain this number. */
  async domains(domains: number): Promise<void> {
    driver.domains = domains;
  },
  cpu: async (): Promise<number> => cpuMicros(),
};
export type WireServerCalls = typeof calls;

answerCalls(calls);
