import type { SiteName } from "../sites.ts";
import type { Input } from "./input.ts";

/** HTTP requests that are malformed, forbidden, or mean two things at once. */

/** A request with a Host, and the last of its connection. */
export const request = (line: string, ...headers: string[]): string =>
  `${line}\r\n${["Host: 127.0.0.1", "Connection: close", ...headers].join("\r\n")}\r\n\r\n`;
export const get = (path: string, ...headers: string[]): string => request(`GET ${path} HTTP/1.1`, ...headers);

export type Row = readonly [name: string, reaction: string, bytes: Uint8Array | string];

/** Inputs of one kind. */
export const rowsOf = (
  kind: string,
  rows: readonly Row[],
  site: SiteName = "guarded",
  more: Pick<Input, "ends"> = {},
): Input[] =>
  rows.map(([name, reaction, bytes]) => {
    const send: Input["send"] = (peer) => peer.send(bytes);
    return { kind: `HTTP: ${kind}`, name: `HTTP: ${kind}: ${name}`, reaction, site, send, ...more };
  });

const TLS_HELLO = Buffer.from("16030100c8010000c4030300000000000000000000000000000000", "hex");

const NO_HTTP: readonly Row[] = [
  ["a hello of TLS", "HTTP 400", TLS_HELLO],
  ["the preface of HTTP/2", "HTTP 400", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["zeros", "HTTP 400", new Uint8Array(64)],
  ["bytes of all values", "HTTP 400", Uint8Array.from({ length: 256 }, (_, i) => i)],
  ["a virstream message", "HTTP 400", '{"type":"hello"}\r\n\r\n'],
  ["a greeting of SSH", "HTTP 400", "SSH-2.0-OpenSSH_9.2\r\n"],
  ["a command of Redis", "HTTP 400", "*1\r\n$4\r\nPING\r\n"],
  ["an answer", "HTTP 400", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
];

const LINES: readonly Row[] = [
  ["the version HTTP/3.7", "HTTP 400", request("GET / HTTP/3.7")],
  ["no version, as in HTTP/0.9", "HTTP 200", "GET /healthz\r\n\r\n"],
  ["the version HTTP/1.1.1", "HTTP 400", request("GET / HTTP/1.1.1")],
  ["no version's number", "HTTP 400", request("GET / HTTP/")],
  ["http in small letters", "HTTP 400", request("GET / http/1.1")],
  ["an unknown method", "HTTP 400", request("STEAL / HTTP/1.1")],
  ["a method in small letters", "HTTP 400", request("get / HTTP/1.1")],
  ["a method of 20 kB", "HTTP 400", request(`${"G".repeat(20_000)} / HTTP/1.1`)],
  ["two spaces before the path", "HTTP 426", request("GET  / HTTP/1.1")],
  ["a space in the path", "HTTP 400", request("GET /a b HTTP/1.1")],
  ["a tab in the path", "HTTP 400", request("GET /a\tb HTTP/1.1")],
  ["a zero in the path", "HTTP 400", request("GET /\u0000 HTTP/1.1")],
  ["a line feed in the path", "HTTP 400", request("GET /\nHost: x HTTP/1.1")],
  ["no path", "HTTP 400", request("GET HTTP/1.1")],
  ["a header without a colon", "HTTP 400", get("/", "nonsense")],
  ["a header without a name", "HTTP 400", get("/", ": x")],
  ["a header with a space in its name", "HTTP 400", get("/", "a b: c")],
  ["a header with a space before its colon", "HTTP 400", get("/", "a : b")],
  ["a header with a zero", "HTTP 400", get("/", "a: \u0000")],
  ["a header with a control character", "HTTP 400", get("/", "a: \u0008")],
  ["a header with a carriage return alone", "HTTP 400", get("/", "a: b\rc: d")],
  ["a header in two lines", "HTTP 400", get("/", "a: b\r\n c")],
  ["a first header that begins with a space", "HTTP 400", "GET / HTTP/1.1\r\n a: b\r\nHost: x\r\n\r\n"],
  ["no Host", "HTTP 400", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"],
  ["two Hosts", "HTTP 400", get("/healthz", "Host: evil.example")],
  ["an invalid Expect header", "HTTP 417", get("/", "Expect: the-unexpected")],
  ["lines that end with a line feed alone", "HTTP 400", "GET / HTTP/1.1\nHost: x\n\n"],
];

/** Requests after which the connection could go on. */
const post = (...headers: string[]): string =>
  `POST / HTTP/1.1\r\n${["Host: 127.0.0.1", ...headers].join("\r\n")}\r\n\r\n`;
const chunked = (body: string, ...headers: string[]): string => post("Transfer-Encoding: chunked", ...headers) + body;
/** A second request that an intermediary would take for the body of the first. */
const HIDDEN = "GET /stats.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

const LENGTHS: readonly Row[] = [
  ["two different lengths", "HTTP 400", post("Content-Length: 1", "Content-Length: 2")],
  ["the same length twice", "HTTP 400", `${post("Content-Length: 1", "Content-Length: 1")}x`],
  ["a list of lengths", "HTTP 400", `${post("Content-Length: 1, 1")}x`],
  ...["-1", "+1", "0x1", "1e0", "1.0", "1 1", "", "x", "9".repeat(30)].map(
    (length): Row => [`the length ${length}`, "HTTP 400", post(`Content-Length: ${length}`)],
  ),
  ["a length and chunks", "HTTP 400", chunked(`0\r\n\r\n${HIDDEN}`, "Content-Length: 4")],
  ["chunks and a length", "HTTP 400", `${post("Content-Length: 4", "Transfer-Encoding: chunked")}0\r\n\r\n${HIDDEN}`],
  // One answer, and the end of the connection: what follows is read by no server.
  ...["chunked, identity", "identity, chunked, identity", "xchunked", "chunked;q=1", "gzip", "identity", "cow"].map(
    (encoding): Row => [
      `the transfer encoding ${encoding}`,
      encoding.includes(",") ? "HTTP 400" : "HTTP 405",
      `${post(`Transfer-Encoding: ${encoding}`)}0\r\n\r\n${HIDDEN}`,
    ],
  ),
  ["chunked twice", "HTTP 400", chunked("0\r\n\r\n", "Transfer-Encoding: chunked")],
  ["chunked and identity", "HTTP 400", chunked("0\r\n\r\n", "Transfer-Encoding: identity")],
  ["a length with a zero in its name", "HTTP 400", post("Content\u0000-Length: 4")],
  ["a length in a folded line", "HTTP 400", post("Content-Length:\r\n 4")],
  ["a length and a hidden request", "HTTP 405", `${post(`Content-Length: ${HIDDEN.length}`)}${HIDDEN}`],
  ["an upgrade to h2c, and a request", "HTTP 405, HTTP 401", `${post("Upgrade: h2c", "Content-Length: 0")}${HIDDEN}`],
  ...["x", "-1", "0x1", " 1", "1 ", "ffffffffffffffffff", ";", "1;\u0000"].map(
    (size): Row => [`the chunk size ${JSON.stringify(size)}`, "HTTP 405", chunked(`${size}\r\na\r\n0\r\n\r\n`)],
  ),
  ["a chunk that is longer than the size that it declares", "HTTP 405, HTTP 400", chunked("1\r\nabc\r\n0\r\n\r\n")],
  ["chunks that end with a line feed alone", "HTTP 405", chunked("1\na\n0\n\n")],
  ["an extension of a chunk of 20 kB", "HTTP 405", chunked(`1;${"x".repeat(20_000)}\r\na\r\n0\r\n\r\n`)],
  ["trailers of 20 kB", "HTTP 405", chunked(`0\r\na: ${"x".repeat(20_000)}\r\n\r\n`)],
  ["a trailer that hides a length", "HTTP 405", chunked("0\r\nContent-Length: 4\r\n\r\n")],
  ["a body that ends in the middle", "HTTP 405, HTTP 400", `${post("Content-Length: 4")}ab`],
  ["chunks that end in the middle", "HTTP 405, HTTP 400", chunked("4\r\nab")],
];

const LARGE: readonly Row[] = [
  ["a header of 20 kB", "HTTP 431", get("/", `a: ${"x".repeat(20_000)}`)],
  ["a header's name of 20 kB", "HTTP 431", get("/", `${"x".repeat(20_000)}: a`)],
  [
    "400 headers of 64 bytes",
    "HTTP 431",
    get("/", ...Array.from({ length: 400 }, (_, i) => `a${i}: ${"x".repeat(60)}`)),
  ],
  ["10,000 short headers", "HTTP 431", get("/", `${"a:b\r\n".repeat(9_999)}a:b`)],
  ["500 short headers", "HTTP 200", get("/healthz", ...Array.from({ length: 500 }, () => "a:b"))],
  ["a cookie of 20 kB", "HTTP 431", get("/", `Cookie: ${"x".repeat(20_000)}`)],
  ["a token of 20 kB", "HTTP 431", get("/stats.json", `Authorization: Bearer ${"x".repeat(20_000)}`)],
  ["a token of 12 kB", "HTTP 401", get("/stats.json", `Authorization: Bearer ${"x".repeat(12_000)}`)],
  ["a path of 20 kB", "HTTP 431", get(`/${"x".repeat(20_000)}`)],
  ["a path of 12 kB", "HTTP 404", get(`/${"x".repeat(12_000)}`)],
  ["a query of 12 kB", "HTTP 200", get(`/healthz?${"x".repeat(12_000)}`)],
  ["a header that does not end", "HTTP 431", `GET / HTTP/1.1\r\na: ${"x".repeat(40_000)}`],
  ["a body of 40 kB", "HTTP 405", `${request("POST / HTTP/1.1", "Content-Length: 40000")}${"x".repeat(40_000)}`],
];

/** Several requests in one segment. */
const keep = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
const PIPELINED: readonly Row[] = [
  [
    "requests for /healthz, /x and /stats.json",
    "HTTP 200, HTTP 404, HTTP 401",
    `${keep("/healthz")}${keep("/x")}${get("/stats.json")}`,
  ],
  ["100 requests", Array(100).fill("HTTP 200").join(", "), keep("/healthz").repeat(99) + get("/healthz")],
  ["a request with Connection: close, and another behind it", "HTTP 200", get("/healthz") + keep("/stats.json")],
  ["a malformed request behind another", "HTTP 200", `${keep("/healthz")}nonsense\r\n\r\n`],
  ["a body that a GET does not have", "HTTP 200", `${keep("/healthz")}abc\r\n\r\n`],
];

export const HTTP_INPUTS: readonly Input[] = [
  ...rowsOf("bytes that are no request", NO_HTTP),
  ...rowsOf("malformed request lines and headers", LINES),
  ...rowsOf("lengths and chunks of bodies, and requests hidden in them", LENGTHS, "guarded", { ends: true }),
  ...rowsOf("large requests", LARGE),
  ...rowsOf("requests one after the other", PIPELINED),
];
