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
import { fromJSON } from "@grpc/proto-loader";
import protobuf from "protobufjs";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { ParamType } from "../src/model/schema.ts";
import { cycle, inChunks } from "./wire-source.ts";

/**
 * An efficient schema for gRPC: packed values without their keys. So the peer uses the same idea as virstream, and the
 * benchmark compares everything else.
 */
const PROTO = `
syntax = "proto3";
package bench;
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
message Request { uint32 domains = 1; }
message Chunk { repeated Record records = 1; }
service Stats { rpc Sweep (Request) returns (stream Chunk); }
`;

interface Request {
  readonly domains: number;
}

/** A record as protobufjs encodes and decodes it. */
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

interface Chunk {
  readonly records: readonly ProtoRecord[];
}

/**
 * `exact` keeps virstream's promise of exact values. It uses gRPC in the way that the documentation of gRPC describes:
 * the loader @grpc/proto-loader with its defaults, which keep 64-bit values exact (Long objects). Each record is put
 * into its message only when it is sent, like a record that a driver has just read. `number` has 64-bit values as
 * floats, which are wrong above 2^53, and messages that are prepared before the measurement. `tuned` has the same
 * floats and prepared messages, calls the newest protobufjs directly, and switches off the support of 64-bit values in
 * protobufjs. We know no faster way to use grpc-js; few programs do this.
 */
export type GrpcCodec = "exact" | "number" | "tuned";

/** The size of virstream's messages in bytes. The peer's chunks have as many records as fit into the same size. */
const CHUNK_BYTES = 65_536;

/**
 * The HTTP/2 windows of stream and connection, as large as virstream's credit. With the default of 64 KiB, the size of
 * one message, the server would wait for the client after each message.
 */
const CHANNEL_OPTIONS = { "grpc-node.flow_control_window": 1_048_576 };

// Only `tuned` uses this protobufjs; the loader has its own copy, which keeps its defaults.
(protobuf.util as { Long: unknown }).Long = null;
protobuf.configure();
const ROOT = protobuf.parse(PROTO, { keepCase: true }).root;
const CHUNK_TYPE = ROOT.lookupType("bench.Chunk");

function service(codec: GrpcCodec): ServiceDefinition {
  const options = codec === "exact" ? {} : { longs: Number };
  const definition = fromJSON(ROOT.toJSON(), { keepCase: true, ...options })["bench.Stats"] as ServiceDefinition;
  if (codec !== "tuned") return definition;
  return {
    Sweep: {
      ...definition["Sweep"]!,
      responseSerialize: (chunk: Chunk) => CHUNK_TYPE.encode(chunk as never).finish() as Buffer,
      responseDeserialize: (bytes: Buffer) => CHUNK_TYPE.decode(bytes),
    },
  };
}

/**
 * Serves sweeps by gRPC server streaming, and obeys its back-pressure.
 *
 * @returns the port
 */
export async function serveGrpc(records: readonly DomainStatsRecord[], codec: GrpcCodec): Promise<number> {
  const prepared = records.map(protoRecord);
  const bytes = CHUNK_TYPE.encode({ records: prepared } as never).finish().length / prepared.length;
  const size = Math.ceil(CHUNK_BYTES / bytes);
  const chunks = inChunks(prepared, size);
  const unprepared = inChunks(records, size);
  const server = new Server(CHANNEL_OPTIONS);
  server.addService(service(codec), {
    async Sweep(call: ServerWritableStream<Request, Chunk>): Promise<void> {
      const { domains } = call.request;
      if (codec === "exact") {
        for (const chunk of cycle(unprepared, domains)) {
          if (!call.write({ records: chunk.map(protoRecord) })) await once(call, "drain");
        }
      } else {
        for (const chunk of cycle(chunks, domains)) {
          if (!call.write({ records: chunk })) await once(call, "drain");
        }
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

/** Connects. Returns a function that runs a sweep and reads one value of each record. */
export function connectGrpc(
  port: number,
  codec: GrpcCodec,
): (domains: number, touch: (value: number) => void) => Promise<void> {
  const Client = makeClientConstructor(service(codec), "Stats");
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), CHANNEL_OPTIONS);
  const sweep = client["Sweep"]!.bind(client) as unknown as (request: Request) => ClientReadableStream<Chunk>;
  return (domains, touch) =>
    new Promise((resolve, reject) => {
      const call = sweep({ domains });
      call.on("data", (chunk: Chunk) => {
        for (const record of chunk.records) touch(Number(record.values[CPU_TIME]));
      });
      call.on("end", resolve);
      call.on("error", reject);
    });
}

/** The position of cpu.time among the values. It is a constant, so that the peer does not have to search for it. */
const CPU_TIME = 2;

/** Splits a record's values into numbers and strings, as the message has them. */
function protoRecord({ domain, sampledAt, tookMs, params }: DomainStatsRecord): ProtoRecord {
  const { types } = params.schema;
  const values = params.doubles.filter((_, i) => types[i] !== ParamType.string);
  const strings = [...params.texts];
  return {
    uuid: Buffer.from(domain.uuid.replaceAll("-", ""), "hex"),
    name: domain.name,
    id: domain.id,
    schema: 1,
    sampledAt,
    tookMs,
    status: 0,
    values,
    strings,
  };
}
