import { SUBPROTOCOLS } from "../../../src/wire/protocol.ts";
import { TOKEN } from "../sites.ts";
import { type Row, rowsOf } from "./http.ts";
import type { Input } from "./input.ts";
import { frameOf, Opcode, upgradeOf } from "./raw-peer.ts";

/** Upgrades that must be refused, and what comes right behind them. */

type Headers = Readonly<Record<string, string | undefined>>;
const valuesOf = (reaction: string, header: string, values: readonly (string | undefined)[]): Row[] =>
  values.map((value) => {
    const shown = value === undefined ? "absent" : JSON.stringify(value).slice(0, 60);
    return [`${header} is ${shown}`, reaction, upgradeOf({ [header]: value })];
  });

const HANDSHAKES: readonly Row[] = [
  ...valuesOf("HTTP 400", "Sec-WebSocket-Key", [
    ...[
      undefined,
      "",
      "x",
      "AAAAAAAAAAAAAAAAAAAAAA",
      "A".repeat(1_000),
      "AAAAAAAAAAAAAAAAAAAAAAA=",
      "====================== ==",
    ],
    "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==",
  ]),
  ...valuesOf("HTTP 400", "Sec-WebSocket-Version", [undefined, "", "0", "7", "12", "14", "x", "13, 8", "13;"]),
  // It is a number.
  ...valuesOf("HTTP 101", "Sec-WebSocket-Version", ["13.0", "0x0d"]),
  ...valuesOf("HTTP 400", "Upgrade", ["x", "h2c", "websocket2", "WebSocket, h2c", "TLS/1.0"]),
  ...valuesOf("HTTP 400", "Sec-WebSocket-Protocol", [
    ...[
      "x",
      "graphql-ws",
      "virstream",
      "virstream.v2",
      "VIRSTREAM.V1",
      "virstream.v1.json.x",
      "virstream.v1;",
      "__proto__",
    ],
    ...["virstream.v1,,virstream.v1", "virstream.v1,virstream.v1", "virstream.v1,(", ",virstream.v1"],
  ]),
  // The server agrees to no extension.
  ...valuesOf("HTTP 101", "Sec-WebSocket-Extensions", [
    "permessage-deflate; server_max_window_bits=99",
    "x; y=z",
    "(",
    "permessage-deflate, ".repeat(200),
  ]),
  ...["POST", "PUT", "OPTIONS", "HEAD"].map(
    (method): Row => [`an upgrade by ${method}`, "HTTP 405", upgradeOf({}, `${method} / HTTP/1.1`)],
  ),
  ["an upgrade by HTTP/1.0", "HTTP 101", upgradeOf({}, "GET / HTTP/1.0")],
  ["an upgrade at an absolute URL", "HTTP 404", upgradeOf({}, "GET http://example.com/ HTTP/1.1")],
  ["an upgrade at the path /../../x", "HTTP 101", upgradeOf({}, "GET /../../x HTTP/1.1")],
];

/** These are plain requests for a page. */
const NO_UPGRADES: readonly Row[] = [
  ...valuesOf("HTTP 426", "Upgrade", [undefined]),
  ...valuesOf("HTTP 426", "Connection", [undefined, "close", "keep-alive"]),
];

const FOREIGN = [
  ...[
    "https://evil.example",
    "null",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "file://",
    "x",
    "",
  ],
  ...["http://[::1", "http://127.0.0.1@evil.example", "http://evil.example#127.0.0.1", "http://evil.example/127.0.0.1"],
  ...["http://127.0.0.1, http://evil.example", "chrome-extension://abc", "data:text/html,x", "http://127.1.1.1.1"],
  ...["http://localhost%2eevil.example", "http://LOCALHOST.evil.example", "javascript:1"],
];
const ORIGINS: readonly Row[] = [
  ...valuesOf("HTTP 403", "Origin", FOREIGN),
  ["a long Origin", "HTTP 403", upgradeOf({ Origin: `https://${"x".repeat(8_000)}.example` })],
];
/** The page of a name that leads to the server. */
const REBOUND: readonly Row[] = ["evil.example", "evil.example:80", "127.0.0.1.evil.example"].map((name) => [
  `the page of ${name} at its own name`,
  "HTTP 403",
  upgradeOf({ Host: name, Origin: `http://${name}` }),
]);

const PREFIXED: readonly Row[] = ["/", "/vmx", "/x/vm", "/vm%2f", "//vm", "/../vm", "/VM"].map((path) => [
  `an upgrade at ${path}`,
  "HTTP 404",
  upgradeOf({}, `GET ${path} HTTP/1.1`),
]);

const HELLO = frameOf(Opcode.text, JSON.stringify({ type: "hello", token: TOKEN }));
const KEEP = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const behind = (bytes: Uint8Array | string, headers: Headers = {}): Buffer =>
  Buffer.concat([Buffer.from(upgradeOf(headers)), Buffer.from(bytes as Uint8Array)]);

/** What is in the same segment as the upgrade. */
const BEHIND: readonly (readonly [name: string, reaction: string, bytes: Uint8Array | string])[] = [
  ["an HTTP request", "close 1002", KEEP],
  ["a second upgrade", "close 1002", upgradeOf()],
  ["an unmasked frame", "close 1002", frameOf(Opcode.text, "{}", { masked: false })],
  ["a get without a hello", "close 4400", frameOf(Opcode.text, '{"type":"get","id":1}')],
  ["a hello", "ignored", HELLO],
  ["a hello, and an HTTP request", "close 1002", Buffer.concat([HELLO, Buffer.from(KEEP)])],
];
const BEHIND_INPUTS: readonly Input[] = SUBPROTOCOLS.flatMap((subprotocol) =>
  BEHIND.map(([name, reaction, bytes]): Input => {
    return {
      kind: "HTTP: other bytes right before or behind an upgrade",
      name: `${subprotocol}: ${name} right behind the upgrade`,
      reaction,
      send: (peer) => peer.upgrade(subprotocol, Buffer.from(bytes as Uint8Array)),
    };
  }),
);

const AROUND: readonly Row[] = [
  ["an upgrade behind a request", "HTTP 200, HTTP 101", KEEP + upgradeOf()],
  [
    "an upgrade behind a request that has no answer yet",
    "HTTP 400",
    KEEP.replace("healthz", "stats.json") + upgradeOf(),
  ],
  [
    "an upgrade behind two requests, one without an answer yet",
    "HTTP 400",
    KEEP.replace("healthz", "metrics") + KEEP + upgradeOf(),
  ],
  ["a request behind a refused upgrade", "HTTP 400", behind(KEEP, { "Sec-WebSocket-Protocol": "x" })],
  ["an upgrade with a body", "HTTP 101", behind("abc", { "Content-Length": "3" })],
  ["an upgrade with chunks", "HTTP 101", behind("0\r\n\r\n", { "Transfer-Encoding": "chunked" })],
];

export const UPGRADE_INPUTS: readonly Input[] = [
  ...rowsOf("malformed upgrades", HANDSHAKES),
  ...rowsOf("malformed upgrades", NO_UPGRADES, "guarded", { ends: true }),
  ...rowsOf("upgrades by pages of other origins", ORIGINS),
  ...rowsOf("upgrades by pages of other origins", REBOUND, "open"),
  ...rowsOf("upgrades outside of the prefix /vm", PREFIXED, "prefix"),
  ...rowsOf("other bytes right before or behind an upgrade", AROUND),
  ...BEHIND_INPUTS,
];
