import { LIMITS, SUBPROTOCOLS, type Subprotocol } from "../../../src/wire/protocol.ts";
import { MIN_INTERVAL_MS, TOKEN } from "../sites.ts";
import type { Input } from "./input.ts";
import type { RawPeer } from "./raw-peer.ts";

/** Requests with a member of a wrong kind, malformed messages, and messages in a wrong order, in both profiles. */

const HELLO = { type: "hello", token: TOKEN };
const GET = { type: "get", id: 1 };
const WATCH = { type: "watch", id: 1, intervalMs: 1_000 };
const CREDIT = { type: "credit", id: 1, bytes: 1 };
const CANCEL = { type: "cancel", id: 1 };
const SINCE = { epoch: "e", channel: 1, sequence: 1 };

/** Stands for a member that is left out. */
const ABSENT = undefined;
const MALFORMED = "close 4400";
const NO_TEXT = [null, true, 1, [], {}];
const NO_NUMBER = [null, true, "1", [], {}];

/** Each value of `values` as the member of a message. */
interface Wrong {
  readonly of: Readonly<Record<string, unknown>>;
  readonly member: string;
  readonly reaction: string;
  readonly values: readonly unknown[];
}

const ids: readonly Wrong[] = [GET, WATCH, CREDIT, CANCEL].map((of) => {
  return { of, member: "id", reaction: MALFORMED, values: [ABSENT, ...NO_NUMBER, 0, -1, 1.5, LIMITS.id + 1] };
});
const credits: readonly Wrong[] = [
  ...[GET, WATCH].map((of) => ({ of, member: "credit", values: NO_NUMBER })),
  { of: CREDIT, member: "bytes", values: [ABSENT, ...NO_NUMBER] },
].map(({ values, ...rest }) => ({
  ...rest,
  reaction: MALFORMED,
  values: [...values, 0, -1, 1.5, LIMITS.credit + 1, 1e308],
}));
const NO_SELECTORS = [
  1,
  "x",
  null,
  [],
  {},
  { name: "" },
  { name: 1 },
  { name: null },
  { name: "x".repeat(LIMITS.name + 1) },
];
const NO_UUIDS = ["x", 1, null, "", []].map((uuid) => ({ uuid }));
const queries: readonly Wrong[] = [GET, WATCH].flatMap((of) => [
  {
    ...{ of, member: "groups", reaction: "end unknown-group" },
    values: [
      null,
      true,
      "state",
      {},
      -1,
      0.5,
      2 ** 32,
      ["odd"],
      [1],
      [null],
      [[]],
      ["state", "__proto__"],
      ["constructor"],
    ],
  },
  { of, member: "flags", reaction: "end unknown-flag", values: [...NO_NUMBER, -1, 0.5, 2 ** 32, 0x100] },
  {
    ...{ of, member: "deadlineMs", reaction: "end invalid-argument" },
    values: [...NO_NUMBER, 0, -1, 1.5, 600_001, 1e308],
  },
  {
    ...{ of, member: "domains", reaction: "end invalid-argument" },
    values: [null, true, 1, "x", {}, ...[...NO_SELECTORS, ...NO_UUIDS].map((selector) => [selector])],
  },
  { of, member: "domains", reaction: "end empty-domain-list", values: [[]] },
  { of, member: "at", reaction: "end invalid-argument", values: [...NO_NUMBER, -1, 1.5, 1e308] },
  // The attacked servers have no recording.
  { of, member: "at", reaction: "end unsupported", values: [0, 1_700_000_000_000] },
  ...["names", "hosts"].flatMap((member): Wrong[] => [
    {
      ...{ of, member, reaction: "end invalid-argument" },
      values: [
        null,
        true,
        1,
        "x",
        {},
        [],
        [1],
        [null],
        [[]],
        [""],
        ["a["],
        ["[]"],
        ["[z-a]"],
        ["\\"],
        ["x".repeat(LIMITS.pattern + 1)],
      ],
    },
    {
      ...{ of, member, reaction: "end limit-exceeded" },
      values: [Array.from({ length: LIMITS.patterns + 1 }, (_, i) => `${i}-*`)],
    },
  ]),
  ...["names", "hosts"].map((member): Wrong => {
    return {
      ...{ of: { ...of, domains: [{ name: "a" }] }, member, reaction: "end invalid-argument" },
      values: [["a"]],
    };
  }),
  {
    ...{ of, member: "domains", reaction: "end limit-exceeded" },
    values: [Array.from({ length: LIMITS.selectors + 1 }, (_, i) => ({ name: `${i}` }))],
  },
]);
const ON_CHANGE = { ...WATCH, mode: "on-change" };
const cadences: readonly Wrong[] = [
  {
    ...{ of: WATCH, member: "intervalMs", reaction: "end invalid-argument" },
    values: [ABSENT, ...NO_NUMBER, 0, -1, 9, MIN_INTERVAL_MS - 1, 1_000.5, 3_600_001, 1e308],
  },
  { of: WATCH, member: "mode", reaction: "end invalid-argument", values: [...NO_TEXT, "odd", "SAMPLE", "toString"] },
  { of: WATCH, member: "heartbeatMs", reaction: "end invalid-argument", values: [5_000] },
  {
    ...{ of: ON_CHANGE, member: "heartbeatMs", reaction: "end invalid-argument" },
    values: [...NO_NUMBER, 0, 999, 1_000.5, 86_400_001],
  },
];
const sinces: readonly Wrong[] = [
  null,
  true,
  1,
  "x",
  [],
  {},
  ...NO_TEXT.map((epoch) => ({ ...SINCE, epoch })),
  ...[...NO_NUMBER, 0, 1.5, LIMITS.id + 1].map((channel) => ({ ...SINCE, channel })),
  ...[...NO_NUMBER, -1, 1.5, 2 ** 53].map((sequence) => ({ ...SINCE, sequence })),
].map((since) => ({ of: WATCH, member: "since", reaction: MALFORMED, values: [since] }));

/** What is wrong before the server has accepted the client. */
const FIRST: readonly Wrong[] = [
  { of: HELLO, member: "client", reaction: MALFORMED, values: NO_TEXT },
  { of: HELLO, member: "token", reaction: MALFORMED, values: NO_TEXT },
  { of: HELLO, member: "token", reaction: "close 4401", values: [ABSENT, "", "wrong", `${TOKEN} `, "\u0000"] },
  { of: HELLO, member: "client", reaction: MALFORMED, values: ["x".repeat(LIMITS.hello)] },
  { of: HELLO, member: "type", reaction: MALFORMED, values: [ABSENT, ...NO_TEXT, "HELLO", "welcome", "get", "cancel"] },
];
const LATER: readonly Wrong[] = [
  ...[...ids, ...credits, ...queries, ...cadences, ...sinces],
  { of: GET, member: "type", reaction: MALFORMED, values: [ABSENT, ...NO_TEXT, "GET", "records", "__proto__"] },
];

const TEXTS = [
  "",
  " ",
  "x",
  "null",
  "1",
  "[]",
  '"get"',
  "{",
  '{"type":"get"',
  "{'type':'get'}",
  "\ufeff{}",
  "[".repeat(10_000),
];

/** The channel of a watch that the server ends waits for its client some ticks long: here, not long. */
const SHORT = { ...WATCH, intervalMs: MIN_INTERVAL_MS };

/** Messages one after the other. The last one is wrong after those before it. */
const ORDERS: readonly (readonly [name: string, reaction: string, messages: readonly unknown[]])[] = [
  ...[GET, SHORT, CREDIT, CANCEL].map(
    (message) => [`a ${message.type} before the hello`, MALFORMED, [message]] as const,
  ),
  ["a second hello", MALFORMED, [HELLO, HELLO]],
  ["a hello after a get", MALFORMED, [HELLO, SHORT, HELLO]],
  ["a watch with the id of another watch", "close 4409", [HELLO, SHORT, SHORT]],
  ["a get with the id of a watch", "close 4409", [HELLO, SHORT, GET]],
  ["a refused get with the id of a watch", "close 4409", [HELLO, SHORT, { ...GET, groups: ["odd"] }]],
  ["a refused watch with the id of a watch", "close 4409", [HELLO, SHORT, { ...SHORT, intervalMs: 1 }]],
  ["credit for an id that is not in use", "ignored", [HELLO, CREDIT]],
  ["a cancel of an id that is not in use", "ignored", [HELLO, CANCEL]],
  ["credit after a cancel", "ignored", [HELLO, SHORT, CANCEL, CREDIT]],
  ["two cancels", "ignored", [HELLO, SHORT, CANCEL, CANCEL]],
  ["unlimited credit with more", "ignored", [HELLO, SHORT, CREDIT]],
  ["too much credit", MALFORMED, [HELLO, { ...SHORT, credit: LIMITS.credit }, { ...CREDIT, bytes: LIMITS.credit }]],
  [
    "one watch more than a connection may have",
    "end limit-exceeded",
    [HELLO, ...Array.from({ length: LIMITS.sweeps + 1 }, (_, i) => ({ ...SHORT, id: i + 1 }))],
  ],
  ["a since of another epoch", "ignored", [HELLO, { ...SHORT, since: SINCE }]],
];

function saying(messages: readonly unknown[]): (peer: RawPeer) => void {
  return (peer) => {
    for (const message of messages) peer.say(message);
  };
}

/** The inputs of one profile. */
function inputsOf(subprotocol: Subprotocol): Input[] {
  const wrong = (kind: string, before: readonly object[], all: readonly Wrong[]): Input[] =>
    all.flatMap(({ of, member, reaction, values }) =>
      values.map((value) => {
        const shown = value === ABSENT ? "absent" : JSON.stringify(value).slice(0, 40);
        const also = "domains" in of ? ", beside domains," : "";
        const name = `${subprotocol}: a ${of["type"]} whose ${member}${also} is ${shown}`;
        return {
          kind: `WebSocket: ${kind}`,
          name,
          reaction,
          subprotocol,
          send: saying([...before, { ...of, [member]: value }]),
        };
      }),
    );
  const texts = [[], [HELLO]].flatMap((before) =>
    TEXTS.map((text) => {
      const name = `${subprotocol}: the text ${JSON.stringify(text).slice(0, 20)} as message ${before.length + 1}`;
      const kind = `WebSocket: texts that are no message`;
      return { kind, name, reaction: MALFORMED, subprotocol, send: saying([...before, text]) };
    }),
  );
  const orders = ORDERS.map(([name, reaction, messages]) => {
    const kind = `WebSocket: messages in a wrong order`;
    return { kind, name: `${subprotocol}: ${name}`, reaction, subprotocol, send: saying(messages) };
  });
  return [
    ...wrong("a hello with a wrong member", [], FIRST),
    ...wrong("a request with a wrong member", [HELLO], LATER),
    ...texts,
    ...orders,
  ];
}

export const REQUEST_INPUTS: readonly Input[] = SUBPROTOCOLS.flatMap(inputsOf);
