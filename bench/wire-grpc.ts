import { once } from "node:events";
import {
  type ClientReadableStream,
  credentials,
  makeClientConstructor,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import protobuf from "protobufjs";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { cycle, inChunks } from "./wire-source.ts";

/**
 * How one sends this with gRPC when one cares: values without their keys, packed. So the peer has the same idea as we
 * have, and what is compared is everything else. (With a key and a oneof in each parameter it is eight times slower.)
 */
const PROTO = `
syntax = "proto3";
message Record {
  bytes uuid = 1;
  string name = 2;
  sint32 id = 3;
  uint32 schema = 4;
  double sampledAt = 5;
  double tookMs = 6;
  uint32 status = 7;
  repeated uint64 values = 8;
  repeated string strings = 9;
}
message Chunk { repeated Record records = 1; }
`;

/** A record as protobufjs takes and gives it. */
interface ProtoRecord {
  readonly uuid: Uint8Array;
  readonly name: string;
  readonly id: number;
  readonly schema: number;
  readonly sampledAt: number;
  readonly tookMs: number;
  readonly status: number;
  readonly values: readonly number[];
  readonly strings: readonly string[];
}

interface ProtoChunk {
  readonly records: readonly ProtoRecord[];
}

// 64-bit values as JavaScript numbers, the cheapest that protobufjs can do; by default they become Long objects.
(protobuf.util as { Long: unknown }).Long = null;
protobuf.configure();
const CHUNK_TYPE = protobuf.parse(PROTO).root.lookupType("Chunk");

/** Our messages have so many bytes; the peer's chunks get as many records as fill the same. */
const CHUNK_BYTES = 65_536;

interface SweepRequest {
  readonly domains: number;
}

const SERVICE = {
  sweep: {
    path: "/bench.Stats/Sweep",
    requestStream: false,
    responseStream: true,
    requestSerialize: (request: SweepRequest) => Buffer.from(JSON.stringify(request)),
    requestDeserialize: (bytes: Buffer): SweepRequest => JSON.parse(bytes.toString()),
    responseSerialize: (chunk: ProtoChunk) => CHUNK_TYPE.encode(chunk as never).finish() as Buffer,
    responseDeserialize: (bytes: Buffer): ProtoChunk => CHUNK_TYPE.decode(bytes) as unknown as ProtoChunk,
  },
} satisfies ServiceDefinition;

/**
 * The HTTP/2 windows of stream and connection: as much as our credit. The default of 64 KiB is one message, and has the
 * server wait for the client after each.
 */
const CHANNEL_OPTIONS = { "grpc-node.flow_control_window": 1_048_576 };

/**
 * Serves sweeps by gRPC server streaming, and obeys its back-pressure.
 *
 * @param single one record per message instead of 64 KiB of them
 * @returns the port
 */
export async function serveGrpc(records: readonly DomainStatsRecord[], single: boolean): Promise<number> {
  const prepared = records.map(protoRecord);
  const bytes = CHUNK_TYPE.encode({ records: prepared } as never).finish().length / prepared.length;
  const chunks = inChunks(prepared, single ? 1 : Math.ceil(CHUNK_BYTES / bytes));
  const server = new Server(CHANNEL_OPTIONS);
  server.addService(SERVICE, {
    async sweep(call: ServerWritableStream<SweepRequest, ProtoChunk>): Promise<void> {
      for (const chunk of cycle(chunks, call.request.domains)) {
        if (!call.write({ records: chunk })) await once(call, "drain");
      }
      call.end();
    },
  });
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port);
      else reject(error);
    });
  });
}

/** Connects; the result runs a sweep and touches one value of each record. */
export function connectGrpc(port: number): (domains: number, touch: (value: number) => void) => Promise<void> {
  const Client = makeClientConstructor(SERVICE, "Stats");
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), CHANNEL_OPTIONS);
  const sweep = client["sweep"]!.bind(client) as unknown as (request: SweepRequest) => ClientReadableStream<ProtoChunk>;
  return (domains, touch) =>
    new Promise((resolve, reject) => {
      const call = sweep({ domains });
      call.on("data", (chunk: ProtoChunk) => {
        for (const record of chunk.records) touch(record.values[CPU_TIME]!);
      });
      call.on("end", resolve);
      call.on("error", reject);
    });
}

/** Where cpu.time is among the values: known beforehand, the peer need not look it up. */
const CPU_TIME = 2;

/** Values and strings apart, as the message wants them: done beforehand, so that it costs the peer nothing. */
function protoRecord({ domain, sampledAt, tookMs, params }: DomainStatsRecord): ProtoRecord {
  const cells = [...params.cells];
  return {
    uuid: Buffer.from(domain.uuid.replaceAll("-", ""), "hex"),
    name: domain.name,
    id: domain.id,
    schema: 1,
    sampledAt,
    tookMs,
    status: 0,
    values: cells.filter((cell) => typeof cell !== "string").map(Number),
    strings: cells.filter((cell) => typeof cell === "string"),
  };
}
