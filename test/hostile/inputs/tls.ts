import type { SecureVersion } from "node:tls";
import type { ClientName } from "../attacked-servers.ts";
import type { SiteName } from "../sites.ts";
import {
  Extension,
  extension,
  type HelloFaults,
  handshake,
  hello,
  helloBody,
  keyShare,
  list8,
  list16,
  P256,
  protocols,
  RecordType,
  record,
  serverName,
  u16,
  versions,
  wordList,
  X25519,
} from "./client-hello.ts";
import type { Input } from "./input.ts";
import { alertTo, reactionToTls, type TlsFaults } from "./tls-peer.ts";

/** What is no TLS, no TLS that the server speaks, or a handshake that goes wrong or stops at any stage. */

type Row = readonly [name: string, reaction: string, ...pieces: Uint8Array[]];
const rawInputs = (kind: string, rows: readonly Row[], site: SiteName = "tls"): Input[] =>
  rows.map(([name, reaction, ...pieces]) => {
    return {
      kind: `TLS: ${kind}`,
      name: `TLS: ${kind}: ${name}`,
      reaction,
      site,
      react: (port) => alertTo(port, ...pieces),
    };
  });

const text = (value: string): Buffer => Buffer.from(value, "latin1");
const ALERT = Buffer.of(2, 40);
const WARNING = Buffer.of(1, 90);

const NO_TLS: readonly Row[] = [
  ["an HTTP request", "closed", text("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")],
  ["HTTP's POST", "closed", text("POST / HTTP/1.1\r\n\r\n")],
  ["a WebSocket's upgrade", "closed", text("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")],
  ["a request to a proxy", "closed", text("CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n")],
  ["the preface of HTTP/2", "closed", text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ["a greeting of SSH", "closed", text("SSH-2.0-OpenSSH_9.2\r\n")],
  ["a command of SMTP", "closed", text("EHLO x\r\nSTARTTLS\r\n")],
  ["zeros", "closed", new Uint8Array(64)],
  ["bytes of all values", "closed", Uint8Array.from({ length: 256 }, (_, i) => i)],
  ["ones", "closed", new Uint8Array(64).fill(0xff)],
  ["a virstream message", "closed", text('{"type":"hello"}')],
  ["an alert", "alert 10", record(RecordType.alert, ALERT)],
  ["an alert of one byte", "alert 10", record(RecordType.alert, Buffer.of(2))],
  ["ten warnings", "alert 10", Buffer.concat(Array(10).fill(record(RecordType.alert, WARNING)))],
  ["application data", "alert 10", record(RecordType.data, new Uint8Array(16))],
  ["a change of ciphers", "alert 10", record(RecordType.changeCipherSpec, Buffer.of(1))],
  ["a heartbeat that says 16 KiB", "alert 10", record(24, Buffer.of(1, 0x40, 0))],
  ["a record of the type 99", "alert 10", record(99, new Uint8Array(16))],
  [
    "a hundred empty records",
    "alert 10",
    Buffer.concat(Array(100).fill(record(RecordType.handshake, new Uint8Array()))),
  ],
  ["a record of the version 9.9", "closed", record(RecordType.handshake, helloBody(), 0x0909)],
  ["a record of 65,535 bytes", "alert 22", Buffer.from("160301ffff0100", "hex")],
  ["a record of 20,000 bytes", "alert 22", record(RecordType.handshake, new Uint8Array(20_000))],
];

const SCSV = 0x00ff;
const ciphers = (...values: number[]): HelloFaults => {
  return {
    ciphers: Buffer.concat(values.map(u16)),
    extensions: { [Extension.versions]: undefined, [Extension.keyShare]: undefined },
  };
};
const OLD: readonly (readonly [name: string, reaction: string, faults: HelloFaults])[] = [
  ...[0, 0x0002, 0x0200, 0x0300, 0x0301, 0x0302].map(
    (version) =>
      [
        `a hello of the version 0x${version.toString(16)}`,
        version === 0x0300 ? "alert 40" : "alert 70",
        { ...ciphers(0xc02b, 0xc009, 0x002f), version },
      ] as const,
  ),
  ...[[0x0300], [0x0301], [0x0302], [0x0301, 0x0302], [0x7f1c], [0x0a0a], [0xffff]].map(
    (values) =>
      [
        `a hello of the versions ${values.map((value) => `0x${value.toString(16)}`)}`,
        "alert 70",
        { extensions: { [Extension.versions]: versions(values) } },
      ] as const,
  ),
  ["no cipher but without encryption", "alert 40", ciphers(0x0001, 0x0002, 0x003b, 0xc006)],
  ["ciphers of export grade", "alert 40", ciphers(0x0003, 0x0006, 0x0008, 0x000e)],
  ["RC4", "alert 40", ciphers(0x0004, 0x0005, 0xc007)],
  ["DES and 3DES", "alert 40", ciphers(0x0009, 0x000a, 0xc008)],
  ["ciphers without the server's proof", "alert 40", ciphers(0x0034, 0x006c, 0xc018)],
  ["ciphers of keys that both know", "alert 40", ciphers(0x00a8, 0xc037)],
  ["unknown ciphers", "alert 40", ciphers(0x5a5a, 0xfafa)],
  ["a mark instead of ciphers", "alert 40", ciphers(SCSV)],
  ["a fallback from a newer version", "alert 86", ciphers(0xc02b, 0x5600)],
];

const withExtension = (type: number, content: Uint8Array | undefined): HelloFaults => {
  return { extensions: { [type]: content } };
};
const MALFORMED: readonly (readonly [name: string, reaction: string, faults: HelloFaults])[] = [
  ["half a cipher", "alert 50", { ciphers: Buffer.of(0x13, 0x01, 0xc0) }],
  ["no compression", "alert 50", { compressions: new Uint8Array() }],
  ["a session of 33 bytes", "alert 50", { session: new Uint8Array(33) }],
  ["an extension that is longer than the hello", "alert 50", { last: Buffer.of(0, 99, 0xff, 0xff) }],
  ["half an extension", "alert 50", { last: Buffer.of(0, 99, 0) }],
  ["an extension twice", "alert 47", { last: extension(Extension.versions, versions([0x0304])) }],
  ["no name", "alert 50", withExtension(Extension.serverName, new Uint8Array())],
  ["an empty list of names", "alert 50", withExtension(Extension.serverName, u16(0))],
  [
    "two names",
    "alert 50",
    withExtension(
      Extension.serverName,
      list16(Buffer.concat([serverName("a").subarray(2), serverName("b").subarray(2)])),
    ),
  ],
  ["a name of another type", "alert 50", withExtension(Extension.serverName, serverName("a", 1))],
  ["a server name of 256 bytes", "alert 112", withExtension(Extension.serverName, serverName("a".repeat(256)))],
  ["a server name of 10,000 bytes", "alert 112", withExtension(Extension.serverName, serverName("a".repeat(10_000)))],
  ["a name with a zero", "alert 112", withExtension(Extension.serverName, serverName("127.0.0.1\u0000.evil.example"))],
  ["a name longer than its list", "alert 50", withExtension(Extension.serverName, Buffer.of(0, 9, 0, 0, 6, 97))],
  ["h2 as the only protocol", "alert 120", withExtension(Extension.protocols, protocols(["h2"]))],
  [
    "protocols that it does not have",
    "alert 120",
    withExtension(Extension.protocols, protocols(["h3", "http/1.0", "spdy/1"])),
  ],
  [
    "a thousand protocols",
    "alert 120",
    withExtension(Extension.protocols, protocols(Array.from({ length: 1_000 }, (_, i) => `p${i}`))),
  ],
  ["no protocol in the list", "alert 50", withExtension(Extension.protocols, protocols([]))],
  ["an empty protocol", "alert 50", withExtension(Extension.protocols, protocols(["", "http/1.1"]))],
  ["an empty list of versions", "alert 70", withExtension(Extension.versions, versions([]))],
  ["half a version", "alert 70", withExtension(Extension.versions, list8(Buffer.of(3)))],
  ["no list of groups", "alert 109", withExtension(Extension.groups, undefined)],
  ["no groups in the list", "alert 50", withExtension(Extension.groups, wordList([]))],
  ["unknown groups", "alert 47", withExtension(Extension.groups, wordList([0x9999]))],
  ["no signatures", "alert 109", withExtension(Extension.signatures, undefined)],
  ["no signatures in the list", "alert 50", withExtension(Extension.signatures, wordList([]))],
  ["unknown signature algorithms only", "alert 40", withExtension(Extension.signatures, wordList([0x9999]))],
  ["weak signatures", "alert 40", withExtension(Extension.signatures, wordList([0x0101, 0x0201, 0x0203]))],
  ["no key", "alert 109", withExtension(Extension.keyShare, undefined)],
  ["a key of 31 bytes", "alert 47", withExtension(Extension.keyShare, keyShare(X25519, new Uint8Array(31).fill(9)))],
  ["a key of zeros", "alert 47", withExtension(Extension.keyShare, keyShare(X25519, new Uint8Array(32)))],
  ["a key that is no point", "alert 47", withExtension(Extension.keyShare, keyShare(P256, new Uint8Array(65).fill(4)))],
  ["an empty key", "alert 50", withExtension(Extension.keyShare, keyShare(X25519, new Uint8Array()))],
  [
    "a key of a group that it did not list",
    "alert 47",
    withExtension(Extension.keyShare, keyShare(24, new Uint8Array(97).fill(4))),
  ],
  ["an earlier session's key before the end", "alert 47", withExtension(Extension.preSharedKey, Buffer.alloc(80))],
  [
    "an earlier session's key that is malformed",
    "alert 109",
    { last: extension(Extension.preSharedKey, Buffer.alloc(8)) },
  ],
  ["a fragment length of 9", "alert 47", withExtension(Extension.maxFragmentLength, Buffer.of(9))],
  ["early data of no session", "alert 50", withExtension(Extension.earlyData, Buffer.of(1))],
];

const BODY = helloBody();
const MESSAGES: readonly Row[] = [
  ...[0, 2, 4, 8, 11, 13, 15, 16, 20, 24, 67, 254].map(
    (type): Row => [`a message of the type ${type} first`, "alert 10", handshake(type, new Uint8Array(4))],
  ),
  // Wherever the hello ends.
  ...[0, 1, 2, 20, 34, 35, 50, 67, 68, 69, 71, 73, 74, 76, 80, 100, BODY.length - 1].map(
    (length): Row => [`a hello that ends after ${length} bytes`, "alert 50", handshake(1, BODY.subarray(0, length))],
  ),
  // This is a whole one of TLS 1.2, without extensions.
  ["a hello that ends after 75 bytes", "alert 40", handshake(1, BODY.subarray(0, 75))],
  ["a hello that claims to have 16 MiB", "alert 47", handshake(1, BODY, 0xffffff)],
  ["bytes behind the hello", "alert 50", handshake(1, Buffer.concat([BODY, Buffer.of(1, 2, 3)]))],
  ["a second hello", "closed", hello(), hello()],
  ["application data behind the hello", "closed", hello(), record(RecordType.data, new Uint8Array(32))],
];

/** Handshakes with ordinary clients, one record of which is damaged. */
const VERSIONS: readonly SecureVersion[] = ["TLSv1.2", "TLSv1.3"];
const restrictedTo = (version: SecureVersion): TlsFaults => {
  return { minVersion: version, maxVersion: version };
};
const tlsInput = (kind: string, name: string, reaction: string, faults: TlsFaults, site: SiteName): Input => {
  return {
    ...{ kind: `TLS: ${kind}`, name: `TLS: ${kind}: ${name}`, reaction, site },
    react: (port, { ca }) => reactionToTls(port, ca, faults),
  };
};

const flipped = (bytes: Buffer): Buffer => {
  bytes[bytes.length - 1]! ^= 1;
  return bytes;
};
const DAMAGES: Readonly<Record<string, (bytes: Buffer) => readonly Buffer[]>> = {
  "has a wrong bit": (bytes) => [flipped(bytes)],
  "is left out": () => [],
  "comes twice": (bytes) => [bytes, bytes],
  "is of another type": (bytes) => [Buffer.concat([Buffer.of(99), bytes.subarray(1)])],
  "is empty": (bytes) => [record(bytes[0]!, new Uint8Array(), 0x0303)],
};
/** Versions of OpenSSL differ in their reaction. */
const UNSENT = undefined;
/** The records of a client's handshake, with the reactions to each damage. */
const RECORDS: Readonly<Record<string, Readonly<Record<string, readonly (string | undefined)[]>>>> = {
  "TLSv1.2": {
    hello: ["alert 20", "closed", UNSENT, "alert 10", "closed"],
    key: ["alert 20", "alert 10", "alert 10", "alert 10", "alert 10"],
    "change of ciphers": ["alert 10", "alert 10", "alert 80", "alert 10", "alert 10"],
    end: ["alert 20", "closed", "alert 20", "alert 20", "alert 80"],
  },
  "TLSv1.3": {
    hello: ["closed", "closed", "alert 10", "alert 10", "closed"],
    // It has no meaning in this version.
    "change of ciphers": [UNSENT, "HTTP 200", "HTTP 200", "alert 10", UNSENT],
    end: ["alert 20", "alert 20", "alert 20", "alert 10", "alert 20"],
  },
};
const DAMAGED: readonly Input[] = VERSIONS.flatMap((version) =>
  Object.entries(RECORDS[version]!).flatMap(([record, reactions], number) =>
    Object.entries(DAMAGES).flatMap(([damage, change], i) => {
      const reaction = reactions[i];
      if (reaction === UNSENT) return [];
      const name = `${version}: the ${record} ${damage}`;
      const faults: TlsFaults = {
        ...restrictedTo(version),
        change: (bytes, n) => (n === number ? change(bytes) : [bytes]),
      };
      // Some of these stop the handshake.
      const site = reaction === "closed" ? "hastyTls" : "tls";
      return [tlsInput("handshakes with a damaged record", name, reaction, faults, site)];
    }),
  ),
);

const STOPPING = "handshakes that stop";
const STOPPED_HELLOS: readonly Row[] = [
  ["no byte at all", "closed"],
  ["a byte", "closed", Buffer.of(22)],
  ["half the head of a record", "closed", Buffer.of(22, 3, 1)],
  ["a head of a record", "closed", Buffer.from("16030100c8", "hex")],
  ["an empty record", "closed", record(RecordType.handshake, new Uint8Array())],
  ["half a hello", "closed", hello().subarray(0, 60)],
  ["half a hello in a record of its own", "closed", record(RecordType.handshake, hello().subarray(5, 60))],
  ["a hello", "closed", hello()],
  ["a hello for another group", "closed", hello(withExtension(Extension.keyShare, list16(new Uint8Array())))],
  ["a hello of TLS 1.2", "closed", hello(ciphers(0xc02b))],
  [
    "a hello of SSL 2",
    "closed",
    Buffer.from("802e010002001500000010010080020080030080040080050080060040070000", "hex"),
  ],
  ["a hello with an empty name", "closed", hello(withExtension(Extension.serverName, serverName("")))],
  [
    "a hello with an unknown extension twice",
    "closed",
    hello({ last: Buffer.concat(Array(2).fill(extension(0x9999, u16(0)))) }),
  ],
];
/** How many records the handshake of a client has that shows a certificate. */
const WITH_CERTIFICATE: Readonly<Record<string, number>> = { "TLSv1.2": 6, "TLSv1.3": 5 };
const stopping = (version: SecureVersion, number: number, site: SiteName): Input => {
  const change: TlsFaults["change"] = (bytes, n) =>
    n < number ? [bytes] : n === number ? [bytes.subarray(0, bytes.length / 2)] : undefined;
  const name = `TLS: ${STOPPING}: ${version}, to ${site}: in the middle of record ${number + 1}`;
  return {
    ...{ kind: `TLS: ${STOPPING}`, name, reaction: "closed", site },
    react: (port, { ca, clients: { good } }) => reactionToTls(port, ca, { ...restrictedTo(version), ...good, change }),
  };
};
const STALLED = [
  ...rawInputs(STOPPING, STOPPED_HELLOS, "hastyTls"),
  ...VERSIONS.flatMap((version) => [
    ...Object.keys(RECORDS[version]!).map((_, number) => stopping(version, number, "hastyTls")),
    ...Array.from({ length: WITH_CERTIFICATE[version]! }, (_, number) => stopping(version, number, "hastyMutual")),
    tlsInput(
      STOPPING,
      `${version}: no request after the handshake`,
      "HTTP 408",
      { ...restrictedTo(version), onSecure: () => {} },
      "hastyTls",
    ),
  ]),
].map((input) => ({ ...input, silent: true }));

const CLIENTS: readonly (readonly [name: ClientName | "no", reactions: readonly [string, string]])[] = [
  ["no", ["alert 40", "alert 116"]],
  ["expired", ["closed", "closed"]],
  ["foreign", ["closed", "closed"]],
  ["self-signed", ["closed", "closed"]],
  ["server", ["closed", "closed"]],
];
const CERTIFICATES: readonly Input[] = CLIENTS.flatMap(([name, reactions]) =>
  VERSIONS.map((version, i): Input => {
    return {
      ...{
        kind: "TLS: certificates of clients",
        name: `TLS: ${version}: ${name} certificate`,
        reaction: reactions[i]!,
        site: "mutual",
      },
      react: (port, { ca, clients }) =>
        reactionToTls(port, ca, { ...restrictedTo(version), ...(name !== "no" && clients[name]) }),
    };
  }),
);

const CONTENTS: readonly Input[] = [
  tlsInput(
    "renegotiations",
    "TLSv1.2: one renegotiation",
    "HTTP 400",
    { ...restrictedTo("TLSv1.2"), onSecure: (socket) => void socket.renegotiate({}, () => {}) },
    "tls",
  ),
];

const helloInputs = (kind: string, rows: typeof OLD): Input[] =>
  rawInputs(
    kind,
    rows.map(([name, reaction, faults]) => [name, reaction, hello(faults)]),
  );

export const TLS_INPUTS: readonly Input[] = [
  ...rawInputs("bytes that are no handshake", NO_TLS),
  ...helloInputs("old versions and weak ciphers", OLD),
  ...helloInputs("malformed hellos", MALFORMED),
  ...rawInputs("messages in a wrong order, and hellos that are cut", MESSAGES),
  ...DAMAGED,
  ...STALLED,
  ...CERTIFICATES,
  ...CONTENTS,
];
