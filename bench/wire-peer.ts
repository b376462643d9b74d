import { type ServiceDefinition, credentials, Server, ServerCredentials, type ServerWritableStream } from "@grpc/grpc-js";
import { makeClientConstructor, type ClientReadableStream } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import type { DomainStatsRecord } from "../src/model/record.ts";

/**
 * How one sends this with gRPC when one cares: values without their keys, packed; the keys would be sent once. So the
 * peer has the same idea as we have, and what is compared is the rest. (With a key and a oneof in each parameter it is
 * eight times slower than this.)
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

/** A record as protobufjs encodes and decodes it. */
export interface ProtoRecord {
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

export interface ProtoChunk {
  readonly records: readonly ProtoRecord[];
}

// 64-bit values as JavaScript numbers, which is the cheapest that protobufjs can do; by default they are Long objects.
(protobuf.util as { Long: unknown }).Long = null;
protobuf.configure();
const chunkType = protobuf.parse(PROTO).root.lookupType("Chunk");

/** A sweep of so many records; the request and the service are as small as they can be. */
interface SweepRequest {
  readonly domains: number;
}

export const STATS_SERVICE = {
  sweep: {
    path: "/bench.Stats/Sweep",
    requestStream: false,
    responseStream: true,
    requestSerialize: (request: SweepRequest) => Buffer.from(JSON.stringify(request)),
    requestDeserialize: (bytes: Buffer): SweepRequest => JSON.parse(bytes.toString()),
    responseSerialize: (chunk: ProtoChunk) => chunkType.encode(chunk as never).finish() as Buffer,
    responseDeserialize: (bytes: Buffer): ProtoChunk => chunkType.decode(bytes) as unknown as ProtoChunk,
  },
} satisfies ServiceDefinition;
