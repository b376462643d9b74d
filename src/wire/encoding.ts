import { VirstreamError } from "../model/error.ts";
import type { ParamCell } from "./cells.ts";
import type { RowBefore } from "./repetition.ts";

/**
 * The two encodings of the protocol carry the same arrays. What writes and reads messages goes through these two
 * interfaces, so that there is one description of each message and not two.
 */

/** What a message is made of. */
export type WireValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly WireValue[]
  | { readonly [key: string]: WireValue };

/** A message as it goes into the socket: binary, or text. */
export type WireMessage = Uint8Array | string;

/** Appends to a message. `Message` is what it becomes: bytes for msgpack, text for JSON. */
export interface WireWriter<Message> {
  /** How much was written so far, in bytes (of msgpack) or characters (of JSON). */
  readonly length: number;
  nil(): void;
  /** A number: an integer where it is a safe one, else a double. Negative zero becomes zero. */
  number(value: number): void;
  string(text: string): void;
  uuid(text: string): void;
  /** The values of a row, without what the row before it, with the same schema, has said already. */
  cells(cells: readonly ParamCell[], before: RowBefore | undefined): void;
  /**
   * A whole row of changes: its four items of head, then the mask and the items of what differs from `before`, which has
   * the same schema. False, and nothing is written, where that could be more items than a row of changes has.
   */
  changes(head: ChangesHead, types: Uint8Array, cells: readonly ParamCell[], before: readonly ParamCell[]): boolean;
  /** Any value, for the small messages. */
  value(value: WireValue | undefined): void;
  /** An array of `size` items, which follow. */
  arrayHead(size: number): void;
  /** An array whose size is told at its end; gives what endArray wants. */
  beginArray(): number;
  endArray(mark: number, size: number): void;
  /** Forgets what was written after `length`. */
  truncate(length: number): void;
  /** Gives the message away and begins anew. */
  take(): Message;
}

/** The head of a row of changes, as it is written. */
export interface ChangesHead {
  number: number;
  index: number;
  sampledAt: number;
  took: number;
}

/** Reads a message. What does not fit throws `protocol-error`; nothing of a stranger's size is made before it is checked. */
export interface WireReader {
  /** The size of an array, whose items are read next. */
  arrayHead(): number;
  uuid(): string;
  /** Whether a uuid is next, and not a number: that tells a full row from one of changes. */
  uuidIsNext(): boolean;
  integer(): number;
  text(): string;
  /**
   * The values of a row, each of its declared type; what they leave out is taken from the row before with the same
   * schema, if there is one.
   */
  cells(types: Uint8Array, before: readonly ParamCell[] | undefined): ParamCell[];
  /** The mask and the `items` items of a row of changes, put upon the values before; gives new ones. */
  changes(types: Uint8Array, before: readonly ParamCell[], items: number): ParamCell[];
  /** Any value, nested at most `depth` deep. */
  value(depth: number): WireValue;
}

/** The error for a message that is not what the protocol says. */
export function malformed(detail: string): VirstreamError {
  return new VirstreamError("protocol-error", `malformed message: ${detail}`);
}

/** An integer from 0 to `most`. */
export function unsigned(reader: WireReader, most: number): number {
  const value = reader.integer();
  if (value >= 0 && value <= most) return value;
  throw malformed(`${value} stands where a whole number from 0 to ${most} belongs`);
}

/** Refuses a message with too few items; items beyond those that are known are left unread. */
export function atLeast(size: number, items: number): void {
  if (size < items) throw malformed(`it has ${size} items and needs ${items}`);
}

/** A value that must be a map. */
export function mapOf(value: WireValue): { readonly [key: string]: WireValue } {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw malformed("something else stands where a map belongs");
  }
  return value as { readonly [key: string]: WireValue };
}
