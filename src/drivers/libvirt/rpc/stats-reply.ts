import { type ParamCell, ParamType, Schema, TypedParams } from "../../../model/params.ts";
import type { SchemaNode, SchemaTable } from "../../../model/schema-table.ts";
import { DOMAIN_BYTES_MIN, DOMAIN_LIST_MAX, type RemoteDomain, readDomain } from "./remote-domain.ts";
import { malformed, type XdrReader } from "./xdr.ts";

/** One domain's part of a statistics reply (remote_domain_stats_record). */
export interface DomainStats {
  readonly domain: RemoteDomain;
  readonly params: TypedParams;
}

/** The domains that the daemon answered for; those it does not know, or hides, are simply not there. */
export type StatsReply = readonly DomainStats[];

/** REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX: the most parameters of one domain. */
const PARAMS_MAX = 262_144;
/** An empty key's length word, the type, and the smallest value. */
const PARAM_BYTES_MIN = 12;
/** Records larger than this are one of a kind: they get a schema of their own and leave the table alone. */
const SHARED_PARAMS_MAX = 4_096;

/** Reads retStats: domains with their typed parameters, in the daemon's order. */
export function readStatsReply(reader: XdrReader, schemas: SchemaTable): StatsReply {
  const count = reader.count(DOMAIN_LIST_MAX, DOMAIN_BYTES_MIN + 4);
  const reply: DomainStats[] = [];
  for (let i = 0; i < count; i++) {
    const domain = readDomain(reader);
    const size = reader.count(PARAMS_MAX, PARAM_BYTES_MIN);
    const params = size > SHARED_PARAMS_MAX ? readLarge(reader, size) : readShared(reader, size, schemas);
    reply.push({ domain, params });
  }
  return reply;
}

/**
 * Most records have the keys of the record before, and turning keys into strings only to compare them was most of the
 * work of decoding. So each node of the schema table remembers the wire form of its key and type, as 32-bit words, which
 * XDR's alignment allows. While the words are those of the guess, the parameter costs a few integer comparisons and its
 * value; the first difference goes the long way, and teaches the table.
 */
function readShared(reader: XdrReader, size: number, schemas: SchemaTable): TypedParams {
  const cells = new Array<ParamCell>(size);
  let node = schemas.root;
  for (let i = 0; i < size; i++) {
    const guess = node.last;
    if (guess?.wire !== undefined && startsWith(reader, guess.wire)) {
      node = guess;
      reader.offset += 4 * guess.wire.length;
    } else {
      node = readStep(reader, node, schemas);
    }
    cells[i] = readValue(reader, node.type);
  }
  return new TypedParams(schemas.schemaAt(node), cells);
}

function startsWith(reader: XdrReader, words: Int32Array): boolean {
  const { view, offset } = reader;
  const count = words.length;
  if (4 * count > reader.remaining) return false;
  for (let i = 0; i < count; i++) {
    if (view.getInt32(offset + 4 * i) !== words[i]) return false;
  }
  return true;
}

function readStep(reader: XdrReader, node: SchemaNode, schemas: SchemaTable): SchemaNode {
  const start = reader.offset;
  const key = reader.string();
  const next = schemas.step(node, key, readType(reader));
  if (next.wire === undefined) {
    next.wire = new Int32Array((reader.offset - start) / 4);
    for (let i = 0; i < next.wire.length; i++) next.wire[i] = reader.view.getInt32(start + 4 * i);
  }
  return next;
}

function readLarge(reader: XdrReader, size: number): TypedParams {
  const keys: string[] = [];
  const types = new Uint8Array(size);
  const cells: ParamCell[] = [];
  for (let i = 0; i < size; i++) {
    keys.push(reader.string());
    types[i] = readType(reader);
    cells.push(readValue(reader, types[i]!));
  }
  return new TypedParams(new Schema(keys, types), cells);
}

function readType(reader: XdrReader): number {
  const type = reader.int();
  if (type < ParamType.int || type > ParamType.string) throw malformed(`a parameter of the unknown type ${type}`);
  return type;
}

function readValue(reader: XdrReader, type: number): ParamCell {
  switch (type) {
    case ParamType.int:
      return reader.int();
    case ParamType.uint:
      return reader.uint();
    case ParamType.llong:
      return reader.hyper();
    case ParamType.ullong:
      return reader.uhyper();
    case ParamType.double:
      return reader.double();
    case ParamType.boolean:
      return reader.int() !== 0;
    default:
      return reader.string();
  }
}
