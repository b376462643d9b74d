import type { Input } from "./input.ts";
import { upgradeOf } from "./raw-peer.ts";

/** Malformed and forbidden HTTP requests, and upgrades that must be refused. */

const request = (line: string, ...headers: string[]): string =>
  `${line}\r\n${["Host: 127.0.0.1", "Connection: close", ...headers].join("\r\n")}\r\n\r\n`;
const TLS_HELLO = Buffer.from("16030100c8010000c4030300000000000000000000000000000000", "hex");

const REQUESTS: readonly (readonly [name: string, reaction: string, bytes: Uint8Array | string])[] = [
  ["TLS", "HTTP 400", TLS_HELLO],
  ["the preface of HTTP/2", "HTTP 400", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["zeros", "HTTP 400", new Uint8Array(64)],
  ["a virstream message", "HTTP 400", '{"type":"hello"}\r\n\r\n'],
  ["HTTP/3.7", "HTTP 400", request("GET / HTTP/3.7")],
  ["an unknown method", "HTTP 400", request("STEAL / HTTP/1.1")],
  ["a header without a colon", "HTTP 400", request("GET / HTTP/1.1", "nonsense")],
  ["a header with a space in its name", "HTTP 400", request("GET / HTTP/1.1", "a b: c")],
  ["a header with a zero", "HTTP 400", request("GET / HTTP/1.1", "a: \u0000")],
  ["no Host", "HTTP 400", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"],
  ["two lengths", "HTTP 400", request("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2")],
  ["a negative length", "HTTP 400", request("POST / HTTP/1.1", "Content-Length: -1")],
  ["a length and chunks", "HTTP 400", request("POST / HTTP/1.1", "Content-Length: 4", "Transfer-Encoding: chunked")],
  ["headers of 64 KiB", "HTTP 431", request("GET / HTTP/1.1", `a: ${"x".repeat(65_536)}`)],
  ["a path of 64 KiB", "HTTP 431", request(`GET /${"x".repeat(65_536)} HTTP/1.1`)],
  ["an expectation that is none", "HTTP 417", request("GET / HTTP/1.1", "Expect: the-unexpected")],
  ...["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"].map(
    (method) => [`${method}`, "HTTP 405", request(`${method} /healthz HTTP/1.1`)] as const,
  ),
  ["CONNECT", "closed", request("CONNECT example.com:443 HTTP/1.1")],
  ...["/x", "/healthz/", "/../healthz", "//", "/stats.json/x", "/%00", "/stats.json%00"].map(
    (path) => [`the path ${path}`, "HTTP 404", request(`GET ${path} HTTP/1.1`)] as const,
  ),
  ["another host's URL", "HTTP 404", request("GET http://example.com/healthz HTTP/1.1")],
  ["no upgrade", "HTTP 426", request("GET / HTTP/1.1")],
  ["/stats.json without a token", "HTTP 401", request("GET /stats.json HTTP/1.1")],
  ...["Bearer wrong", "Bearer ", "Bearer", "Basic YTpi", "bearer a b c", "Bearer \u00ff"].map(
    (value) =>
      [
        `/stats.json with ${value}`,
        "HTTP 401",
        request("GET /stats.json HTTP/1.1", `Authorization: ${value}`),
      ] as const,
  ),
  ["a request whose body does not come", "HTTP 405", request("POST / HTTP/1.1", "Content-Length: 9")],
  ["the token in the URL", "HTTP 401", request("GET /stats.json?token=a+secret+of+the+attacked+server HTTP/1.1")],
];

const NO_KEYS = [undefined, "", "x", "AAAAAAAAAAAAAAAAAAAAAA", "A".repeat(1_000)];

const UPGRADES: readonly (readonly [name: string, reaction: string, bytes: string])[] = [
  ...NO_KEYS.map(
    (key) => [`the key ${key?.slice(0, 30)}`, "HTTP 400", upgradeOf({ "Sec-WebSocket-Key": key })] as const,
  ),
  ...[undefined, "", "0", "7", "12", "14", "x", "13, 8"].map(
    (version) => [`the version ${version}`, "HTTP 400", upgradeOf({ "Sec-WebSocket-Version": version })] as const,
  ),
  ...["x", "h2c", "websocket2", "WebSocket, h2c"].map(
    (upgrade) => [`the upgrade ${upgrade}`, "HTTP 400", upgradeOf({ Upgrade: upgrade })] as const,
  ),
  ...["x", "graphql-ws", "virstream", "virstream.v2", "VIRSTREAM.V1", "virstream.v1.json.x", "virstream.v1;"].map(
    (name) => [`the subprotocol ${name}`, "HTTP 400", upgradeOf({ "Sec-WebSocket-Protocol": name })] as const,
  ),
  ...["virstream.v1,,virstream.v1", "virstream.v1,virstream.v1", "virstream.v1,(", ",virstream.v1"].map(
    (names) => [`the subprotocols ${names}`, "HTTP 400", upgradeOf({ "Sec-WebSocket-Protocol": names })] as const,
  ),
  ...[
    "https://evil.example",
    "null",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "file://",
    "x",
    "",
    "http://[::1",
  ].map((origin) => [`the origin ${origin}`, "HTTP 403", upgradeOf({ Origin: origin })] as const),
  ["a long origin", "HTTP 403", upgradeOf({ Origin: `https://${"x".repeat(8_000)}.example` })],
  ...["Bearer wrong", "Bearer a secret of the attacked serve"].map(
    (token) => [`an upgrade with ${token}`, "HTTP 401", upgradeOf({ Authorization: token })] as const,
  ),
  ["an upgrade by POST", "HTTP 405", upgradeOf({}, "POST / HTTP/1.1")],
];

export const HTTP_INPUTS: readonly Input[] = [...REQUESTS, ...UPGRADES].map(([name, reaction, bytes]) => {
  return { name: `HTTP: ${name}`, reaction, send: (peer) => peer.send(bytes) };
});
