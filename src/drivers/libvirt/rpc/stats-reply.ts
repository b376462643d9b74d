import { TypedParams } from "../../../model/params.ts";
import { ParamType, type Schema } from "../../../model/schema.ts";
import { bytesOf, SchemaTable } from "../../../model/schema-table.ts";
import { DOMAIN_BYTES_MIN, DOMAIN_LIST_MAX, type RemoteDomain, readDomain } from "./remote-domain.ts";
import { invalidMessage, padded, STRING_MAX, type XdrReader } from "./xdr.ts";

/** One domain's part of a statistics reply (remote_domain_stats_record). */
export interface DomainStats {
  readonly domain: RemoteDomain;
  readonly params: TypedParams;
}

/** Reads the answer of DOMAIN_GET_STATE, as the parameters that the statistics call has for the group `state`. */
export function readState(reader: XdrReader): TypedParams {
  return TypedParams.from([
    ["state.state", "int", reader.int()],
    ["state.reason", "int", reader.int()],
  ]);
}

/** The domains that the daemon answered for. The daemon leaves out domains that it does not know, or that it hides. */
export type StatsReply = readonly DomainStats[];

/** REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX: the most parameters of one domain. */
const PARAMS_MAX = 262_144;
/** The bytes of the smallest parameter: the length word of an empty key, the type, and the smallest value. */
const PARAM_BYTES_MIN = 12;
/** The types whose values have 4 bytes. Values of all other types except strings have 8. */
const FOUR_BYTES: ReadonlySet<number> = new Set([ParamType.int, ParamType.uint, ParamType.boolean]);
/**
 * How many different key lists with the same number of keys are kept. Guests with different devices can have the same
 * number of keys, and their records come in any order.
 */
const LISTS_PER_SIZE = 4;
/**
 * The most bytes of all key lists and their schemas together. If a new list would exceed this, the reader drops all
 * earlier lists.
 */
const MAX_BYTES = 33_554_432;

/** The keys and types of one record as the daemon encodes them, without the values between them. */
interface KeyList {
  readonly schema: Schema;
  /** Each key and its type as 32-bit words, which XDR's alignment allows. */
  readonly words: Int32Array;
  /** Where the key and type of each parameter end in `words`. */
  readonly ends: Int32Array;
  /** An upper limit of the memory that the list and its schema need, in bytes. */
  readonly bytes: number;
}

/**
 * Reads statistics replies. One reader serves all connections of a driver, so that a domain's records have the same
 * schema, whichever connection they came over.
 *
 * Most records have the same keys as an earlier record, and turning keys into strings only to compare them would be
 * most of the work of decoding. So the reader keeps the last key lists in their encoded form. While a record's words
 * equal those of a list, a parameter costs a few integer comparisons, and the reading of its value. At the first
 * difference, or anything else that is unusual, the reader begins the record again with the next list of the same
 * length. If no list fits, it reads the record key by key. This makes a new list, or throws the error that says what is
 * wrong.
 */
export class StatsReader {
  readonly #schemas = new SchemaTable();
  /** The lists by their number of parameters, the last used first. */
  readonly #lists = new Map<number, KeyList[]>();
  #bytes = 0;

  /** Reads a statistics reply (`retStats`): domains with their typed parameters, in the daemon's order. */
  read(reader: XdrReader): StatsReply {
    const count = reader.count(DOMAIN_LIST_MAX, DOMAIN_BYTES_MIN + 4);
    const reply: DomainStats[] = [];
    for (let i = 0; i < count; i++) {
      const domain = readDomain(reader);
      reply.push({ domain, params: this.params(reader) });
    }
    return reply;
  }

  /** Reads a list of at most `most` typed parameters. */
  params(reader: XdrReader, most = PARAMS_MAX): TypedParams {
    const size = reader.count(most, PARAM_BYTES_MIN);
    const lists = this.#lists.get(size) ?? [];
    for (const [i, list] of lists.entries()) {
      const params = readLike(reader, list);
      if (params === undefined) continue;
      if (i > 0) lists.unshift(...lists.splice(i, 1));
      return params;
    }
    const start = reader.offset;
    const list = readKeys(reader, size, this.#schemas);
    reader.offset = start;
    this.#keep(list);
    // The record has the keys of this list, and `readKeys` has checked that the message is complete.
    return readLike(reader, list)!;
  }

  #keep(list: KeyList): void {
    if (list.bytes > MAX_BYTES) return;
    this.#bytes += list.bytes;
    if (this.#bytes > MAX_BYTES) {
      this.#lists.clear();
      this.#bytes = list.bytes;
    }
    const size = list.ends.length;
    const lists = this.#lists.get(size);
    if (lists === undefined) {
      this.#lists.set(size, [list]);
      return;
    }
    lists.unshift(list);
    if (lists.length > LISTS_PER_SIZE) this.#bytes -= lists.pop()!.bytes;
  }
}

/**
 * Reads a record that has the keys of a list. If the record has other keys, or its bytes are damaged, returns undefined
 * and leaves the reader's position unchanged. `readKeys` then reads the record, or throws the error.
 */
function readLike(reader: XdrReader, { schema, words, ends }: KeyList): TypedParams | undefined {
  const { view, bytes } = reader;
  const { types } = schema;
  const end = bytes.length;
  const doubles = schema.row();
  // The array has its final length from the start, because an array that grows reserves room for 16 more texts.
  const texts = schema.textCount === 0 ? undefined : new Array<string>(schema.textCount);
  let bigs: Map<number, bigint> | undefined;
  let at = reader.offset;
  let word = 0;
  for (let i = 0; i < ends.length; i++) {
    const stop = ends[i]!;
    // The smallest value is 4 bytes.
    if (at + 4 * (stop - word) + 4 > end) return undefined;
    for (; word < stop; word++) {
      if (view.getInt32(at) !== words[word]) return undefined;
      at += 4;
    }
    const type = types[i]!;
    if (type === ParamType.string) {
      const length = view.getUint32(at);
      at += 4;
      if (length > STRING_MAX || at + padded(length) > end) return undefined;
      texts![doubles[i]!] = bytes.toString("utf8", at, at + length);
      at += padded(length);
      continue;
    }
    const high = view.getInt32(at);
    if (type === ParamType.int) {
      doubles[i] = high;
      at += 4;
    } else if (type === ParamType.uint) {
      doubles[i] = high >>> 0;
      at += 4;
    } else if (type === ParamType.boolean) {
      doubles[i] = high === 0 ? 0 : 1;
      at += 4;
    } else {
      if (at + 8 > end) return undefined;
      if (type === ParamType.double) {
        doubles[i] = view.getFloat64(at);
      } else if (high >= 0 && high < 0x200000) {
        doubles[i] = high * 0x100000000 + view.getUint32(at + 4);
      } else {
        const value = type === ParamType.llong ? view.getBigInt64(at) : view.getBigUint64(at);
        const double = Number(value);
        doubles[i] = double;
        if (!Number.isSafeInteger(double)) {
          bigs ??= new Map();
          bigs.set(i, value);
        }
      }
      at += 8;
    }
  }
  reader.offset = at;
  return new TypedParams(schema, doubles, texts, bigs);
}

/** Reads the keys and types of a record, and skips its values. Throws if the record is not valid. */
function readKeys(reader: XdrReader, size: number, schemas: SchemaTable): KeyList {
  const keys: string[] = [];
  const types = new Uint8Array(size);
  const words: number[] = [];
  const ends = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    let at = reader.offset;
    keys.push(reader.string());
    const type = reader.int();
    if (type < ParamType.int || type > ParamType.string)
      throw invalidMessage(`a parameter of the unknown type ${type}`);
    types[i] = type;
    for (; at < reader.offset; at += 4) words.push(reader.view.getInt32(at));
    ends[i] = words.length;
    if (type === ParamType.string) reader.string();
    else reader.skip(FOUR_BYTES.has(type) ? 4 : 8);
  }
  const schema = schemas.schemaOf(keys, types);
  const bytes = bytesOf(schema) + 4 * (words.length + size);
  return { schema, words: Int32Array.from(words), ends, bytes };
}
