/** TLS messages of a client, by hand (RFC 8446). */

const u8 = (value: number): Buffer => Buffer.of(value);
export const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff);
const u24 = (value: number): Buffer => Buffer.of(value >> 16, (value >> 8) & 0xff, value & 0xff);
export const list16 = (bytes: Uint8Array): Buffer => Buffer.concat([u16(bytes.length), bytes]);
export const list8 = (bytes: Uint8Array): Buffer => Buffer.concat([u8(bytes.length), bytes]);
const words = (values: readonly number[]): Buffer => Buffer.concat(values.map(u16));

/** Types of records. */
export const RecordType = { changeCipherSpec: 20, alert: 21, handshake: 22, data: 23 } as const;

export function record(type: number, payload: Uint8Array, version = 0x0301): Buffer {
  return Buffer.concat([u8(type), u16(version), list16(payload)]);
}

/** A handshake message in a record. @param length what it claims, instead of its length */
export function handshake(type: number, body: Uint8Array, length = body.length): Buffer {
  return record(RecordType.handshake, Buffer.concat([u8(type), u24(length), body]));
}

/** The types of extensions that a hello has here. */
export const Extension = {
  serverName: 0,
  maxFragmentLength: 1,
  groups: 10,
  signatures: 13,
  protocols: 16,
  preSharedKey: 41,
  earlyData: 42,
  versions: 43,
  keyShare: 51,
} as const;

/** A name of the server, as the content of its extension. */
export const serverName = (name: Uint8Array | string, type = 0): Buffer =>
  list16(Buffer.concat([u8(type), list16(Buffer.from(name as Uint8Array))]));
/** Names of application protocols, as the content of their extension. */
export const protocols = (names: readonly string[]): Buffer =>
  list16(Buffer.concat(names.map((name) => list8(Buffer.from(name)))));
export const versions = (values: readonly number[]): Buffer => list8(words(values));
export const keyShare = (group: number, key: Uint8Array): Buffer => list16(Buffer.concat([u16(group), list16(key)]));
export const wordList = (values: readonly number[]): Buffer => list16(words(values));

export const X25519 = 29;
export const P256 = 23;
const EXTENSIONS: Readonly<Record<number, Buffer>> = {
  [Extension.groups]: wordList([X25519, P256]),
  [Extension.signatures]: wordList([0x0403, 0x0804]),
  [Extension.versions]: versions([0x0304]),
  // The base point of the curve: a valid key.
  [Extension.keyShare]: keyShare(X25519, Buffer.from("09".padEnd(64, "0"), "hex")),
};

/** What is unusual about a hello. */
export interface HelloFaults {
  readonly version?: number;
  readonly session?: Uint8Array;
  readonly ciphers?: Uint8Array;
  readonly compressions?: Uint8Array;
  /** Instead of those of a valid hello, or in addition; undefined leaves one out. */
  readonly extensions?: Readonly<Record<number, Uint8Array | undefined>>;
  /** Behind the others. */
  readonly last?: Uint8Array;
}

/** The bytes of an extension. */
export const extension = (type: number, content: Uint8Array): Buffer => Buffer.concat([u16(type), list16(content)]);

/** The body of a client's hello: with TLS 1.3, unless `faults` say otherwise. */
export function helloBody(faults: HelloFaults = {}): Buffer {
  const { version = 0x0303, session = new Uint8Array(32), compressions = u8(0), last = new Uint8Array() } = faults;
  const ciphers = faults.ciphers ?? words([0x1301, 0xc02b]);
  const extensions = Object.entries({ ...EXTENSIONS, ...faults.extensions }).flatMap(([type, content]) =>
    content === undefined ? [] : [extension(Number(type), content)],
  );
  return Buffer.concat([
    ...[u16(version), Buffer.alloc(32, 7), list8(session), list16(ciphers), list8(compressions)],
    list16(Buffer.concat([...extensions, last])),
  ]);
}

/** A client's hello in a record. */
export function hello(faults: HelloFaults = {}): Buffer {
  return handshake(1, helloBody(faults));
}
