import { get, type Row, request, rowsOf } from "./http.ts";
import type { Input } from "./input.ts";

/** Methods and targets that no endpoint has, of servers with and without the live page, and below a prefix. */

const METHODS = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"];
const ENDPOINTS = ["/", "/healthz", "/readyz", "/metrics", "/stats.json"];

const methodsOf = (paths: readonly string[]): Row[] =>
  paths.flatMap((path) =>
    METHODS.map((method): Row => [`${method} ${path}`, "HTTP 405", request(`${method} ${path} HTTP/1.1`)]),
  );
const heads = (answers: Readonly<Record<string, number>>): Row[] =>
  Object.entries(answers).map(([path, status]) => [`HEAD ${path}`, `HTTP ${status}`, request(`HEAD ${path} HTTP/1.1`)]);
const missing = (paths: readonly string[]): Row[] => paths.map((path) => [path, "HTTP 404", get(path)]);

/** Ways out of a folder, and names of files that are beside the page's. */
const WAYS_OUT = [
  "/../package.json",
  "/%2e%2e/package.json",
  "/..%2fpackage.json",
  "/%2e%2e%2fpackage.json",
  "/..%5cpackage.json",
  "/..\\package.json",
  "/....//package.json",
  "/%252e%252e%252fpackage.json",
  "/%c0%ae%c0%ae/package.json",
  "/..;/package.json",
  "//package.json",
  "/./page.js",
  "/page.js/",
  "/page.js/../page.js",
  "/page.js%00",
  "/page.js%00.css",
  "/PAGE.JS",
  "/page%2ejs",
  "/index.html",
  "/page.js.map",
  "/page/page.js",
  "/../../../../../../etc/passwd",
  "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
  "/file:///etc/passwd",
  "/__proto__",
  "/constructor",
  "/.git/config",
  "/.env",
];

const PATHS: readonly Row[] = [
  ...missing([
    ...["/x", "/healthz/", "/../healthz", "//", "//healthz", "/./healthz", "/HEALTHZ", "/health%7a", "/healthz%3f"],
    ...[
      "/stats.json/x",
      "/%00",
      "/stats.json%00",
      "/stats.json;x",
      "/%",
      "/%zz",
      "/vm/healthz",
      "/page.js",
      "/why?domain=x",
    ],
  ]),
  ["a path with a byte beyond ASCII", "HTTP 400", get("/\u00e9")],
  ["*", "HTTP 404", get("*")],
  ["OPTIONS *", "HTTP 405", request("OPTIONS * HTTP/1.1")],
  ["no slash at the start", "HTTP 400", get("healthz")],
  ["a host and a port", "HTTP 400", get("127.0.0.1:80")],
  ["another host's URL", "HTTP 404", get("http://example.com/healthz")],
  ["another scheme's URL", "HTTP 404", get("gopher://127.0.0.1/healthz")],
  ["a file's URL", "HTTP 404", get("file:///etc/passwd")],
  ["a URL with a user", "HTTP 404", get("http://a:b@127.0.0.1/healthz")],
  ["a mark of a fragment", "HTTP 404", get("/healthz#x")],
  ["/healthz with two question marks", "HTTP 200", get("/healthz??")],
  ["CONNECT to another host", "closed", request("CONNECT example.com:443 HTTP/1.1")],
  ["CONNECT to itself", "closed", request("CONNECT 127.0.0.1:80 HTTP/1.1")],
  ["CONNECT to a path", "closed", request("CONNECT /healthz HTTP/1.1")],
  ["/ without an upgrade", "HTTP 426", get("/")],
];

/** What the server without a token answers to names that another site's page can lead to it. */
const NAMES = [
  "evil.example",
  "127.0.0.1.evil.example",
  "localhost.evil.example",
  "[::1",
  "a b",
  "",
  "127.0.0.1:x",
  "0x7f.1.evil",
];
const REBOUND: readonly Row[] = ["/", "/stats.json", "/metrics"].flatMap((path) =>
  NAMES.map(
    (name): Row => [
      `${path} with the Host ${name}`,
      "HTTP 403",
      `GET ${path} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`,
    ],
  ),
);

export const TARGET_INPUTS: readonly Input[] = [
  ...rowsOf("methods other than GET, to a server with a token", methodsOf(ENDPOINTS)),
  ...rowsOf(
    "methods other than GET, to a server with a token",
    heads({ "/": 426, "/healthz": 200, "/readyz": 200, "/metrics": 401, "/stats.json": 401, "/x": 404 }),
  ),
  ...rowsOf("methods other than GET, to a server with the live page", methodsOf(["/", "/page.js"]), "open"),
  ...rowsOf(
    "methods other than GET, to a server with the live page",
    heads({ "/": 200, "/page.js": 200, "/page.css": 200, "/page.txt": 404 }),
    "open",
  ),
  ...rowsOf("unusual request targets, to a server with a token", PATHS),
  ...rowsOf("paths that lead out of the live page's folder", missing(WAYS_OUT), "open"),
  ...rowsOf(
    "paths that lead out of the prefix /vm",
    missing(["/", "/healthz", "/stats.json", "/vmx", "/VM/healthz", "/v%6d/healthz"]),
    "prefix",
  ),
  ...rowsOf("paths that lead out of the prefix /vm", missing(WAYS_OUT.map((path) => `/vm${path}`)), "prefix"),
  ...rowsOf(
    "paths that lead out of the prefix /vm",
    [
      ["/vm", "HTTP 308", get("/vm")],
      ["/vm/../vm/healthz", "HTTP 404", get("/vm/../vm/healthz")],
    ],
    "prefix",
  ),
  ...rowsOf("a foreign or malformed Host, to a server without a token", REBOUND, "open"),
];
