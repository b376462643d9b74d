import { LIMITS, SUBPROTOCOLS } from "../../../src/wire/protocol.ts";
import { ROLE_TOKENS, TOKEN, USER_TOKENS } from "../sites.ts";
import { get, type Row, rowsOf } from "./http.ts";
import type { Input } from "./input.ts";
import { frameOf, Opcode, upgradeOf } from "./raw-peer.ts";

/** Tokens that are wrong, or have no right to what is asked: in the header, in the hello, or in both. */

const bearer = (token: string): string => `Authorization: Bearer ${token}`;
const { admin, stats, metrics, expired, revoked } = ROLE_TOKENS;

/** What no server takes for its token. */
const NO_TOKENS = [
  ...[
    "Bearer wrong",
    "Bearer ",
    "Bearer",
    "",
    "Basic YTpi",
    "Digest username=a",
    "Negotiate x",
    "bearer a b c",
    "Bearer \u00ff",
  ],
  ...[`Basic ${TOKEN}`, `Token ${TOKEN}`, TOKEN, `Bearer${TOKEN}`, `Bearer: ${TOKEN}`, `Bearer, Bearer ${TOKEN}`],
  ...[`Bearer "${TOKEN}"`, `Bearer ${TOKEN.toUpperCase()}`, `Bearer ${TOKEN.slice(0, -1)}`, `Bearer ${TOKEN}x`],
  ...[
    `Bearer ${encodeURIComponent(TOKEN)}`,
    `Bearer ${btoa(TOKEN)}`,
    "Bearer undefined",
    "Bearer null",
    "Bearer [object Object]",
  ],
  ...["Bearer __proto__", `Bearer ${"x".repeat(8_000)}`],
];
/** Of these, an upgrade has no token: it may come in the hello. */
const isNone = (value: string): boolean => !/^Bearer .+/i.test(value.trim());

const PAGES: readonly Row[] = ["/stats.json", "/metrics"].flatMap((path) => [
  [`${path} without a token`, "HTTP 401", get(path)] as const,
  ...NO_TOKENS.map(
    (value): Row => [`${path} with ${value.slice(0, 60)}`, "HTTP 401", get(path, `Authorization: ${value}`)],
  ),
  [`${path} with the token in the URL`, "HTTP 401", get(`${path}?token=${encodeURIComponent(TOKEN)}`)],
  [`${path} with the token in a cookie`, "HTTP 401", get(path, `Cookie: token=${TOKEN}`)],
  [`${path} with the token in another header`, "HTTP 401", get(path, `X-Authorization: Bearer ${TOKEN}`)],
  [`${path} with the token for a proxy`, "HTTP 401", get(path, `Proxy-Authorization: Bearer ${TOKEN}`)],
  [`${path} with the right token behind a wrong one`, "HTTP 400", get(path, bearer("wrong"), bearer(TOKEN))],
  [`${path} with a wrong token behind the right one`, "HTTP 400", get(path, bearer(TOKEN), bearer("wrong"))],
]);

const UPGRADES: readonly Row[] = [
  ...NO_TOKENS.filter((value) => !isNone(value)).map(
    (value): Row => [`an upgrade with ${value.slice(0, 60)}`, "HTTP 401", upgradeOf({ Authorization: value })],
  ),
  ["an upgrade with two tokens", "HTTP 400", upgradeOf({ Authorization: `Bearer ${TOKEN}\r\n${bearer("wrong")}` })],
];

const ROLES: readonly Row[] = [
  ...[expired, revoked].map(
    (token): Row => [`/stats.json with ${token}`, "HTTP 401", get("/stats.json", bearer(token))],
  ),
  ...[stats, metrics].map((token): Row => [`/stats.json with ${token}`, "HTTP 403", get("/stats.json", bearer(token))]),
  ...[expired, revoked].map((token): Row => [`/metrics with ${token}`, "HTTP 401", get("/metrics", bearer(token))]),
  [`/metrics with ${stats}`, "HTTP 403", get("/metrics", bearer(stats))],
  ...[metrics, expired, revoked].map(
    (token): Row => [`an upgrade with ${token}`, "HTTP 401", upgradeOf({ Authorization: `Bearer ${token}` })],
  ),
];
const USERS: readonly Row[] = [
  ["an upgrade when authenticate throws", "HTTP 401", upgradeOf({ Authorization: `Bearer ${USER_TOKENS.failing}` })],
  [
    "an upgrade when authenticate does not answer",
    "HTTP 503",
    upgradeOf({ Authorization: `Bearer ${USER_TOKENS.silent}` }),
  ],
  [
    "an upgrade when the principal is invalid",
    "HTTP 500",
    upgradeOf({ Authorization: `Bearer ${USER_TOKENS.invalid}` }),
  ],
  ["/metrics when authenticate throws", "HTTP 401", get("/metrics", bearer(USER_TOKENS.failing))],
  ["/metrics when authenticate does not answer", "HTTP 401", get("/metrics", bearer(USER_TOKENS.silent))],
  ["/metrics when the principal is invalid", "HTTP 401", get("/metrics", bearer(USER_TOKENS.invalid))],
];

const hello = (token: string): Buffer => frameOf(Opcode.text, JSON.stringify({ type: "hello", token }));

/** Tokens of hellos, and those of both ways at once. */
const HELLOS: readonly Input[] = SUBPROTOCOLS.flatMap((subprotocol) => {
  const kind = `WebSocket: tokens that do not permit the connection`;
  const said = (site: NonNullable<Input["site"]>, reaction: string, token: string, name = token): Input => {
    return {
      ...{ kind, name: `${subprotocol}: a hello with ${name.slice(0, 60)}`, reaction, site },
      send: (peer) => peer.upgrade(subprotocol, hello(token)),
    };
  };
  const both = (reaction: string, header: string, token: string): Input => {
    return {
      ...{ kind, name: `${subprotocol}: header: ${header}, hello: ${token}`, reaction, site: "roles" },
      send: (peer) => peer.upgrade(subprotocol, hello(token), { Authorization: `Bearer ${header}` }),
    };
  };
  return [
    ...["wrong", "__proto__", TOKEN.toUpperCase(), `Bearer ${TOKEN}`, "\u0000", "\ud800", "x".repeat(8_000)].map(
      (token) => said("guarded", "close 4401", token, `the token ${JSON.stringify(token)}`),
    ),
    said("guarded", "close 4400", "x".repeat(LIMITS.hello), "a token of 16 KiB"),
    ...[metrics, expired, revoked].map((token) => said("roles", "close 4401", token)),
    said("users", "close 4401", USER_TOKENS.failing, "a token for which authenticate throws"),
    said("users", "close 4408", USER_TOKENS.silent, "a token for which authenticate does not answer"),
    said("users", "close 4500", USER_TOKENS.invalid, "a token whose principal is invalid"),
    // The first one counts.
    both("ignored", stats, revoked),
    both("ignored", admin, metrics),
    both("HTTP 401", revoked, admin),
    both("HTTP 401", metrics, admin),
    both("HTTP 401", expired, stats),
  ];
});

export const TOKEN_INPUTS: readonly Input[] = [
  ...rowsOf("tokens that do not permit the request", PAGES),
  ...rowsOf("tokens that do not permit the request", UPGRADES),
  ...rowsOf("tokens that do not permit the request", ROLES, "roles"),
  ...rowsOf("tokens that the application cannot check", USERS, "users"),
  ...HELLOS,
];
