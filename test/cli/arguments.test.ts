import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseDoctor, parseGet, parseWatch, parseWhy } from "../../src/cli/arguments.ts";
import { parseCheck } from "../../src/cli/check/arguments.ts";
import { sourceText } from "../../src/cli/format/notice.ts";
import { withSwitches } from "../../src/cli/format/text.ts";
import { parseInfo, parseRecord } from "../../src/cli/recording/arguments.ts";
import { parseServe } from "../../src/cli/serve/arguments.ts";
import { UsageError } from "../../src/cli/usage.ts";
import { VirstreamError } from "../../src/model/error.ts";

describe("a time on the command line", () => {
  it.each([
    ["3", 3_000],
    [".5", 500],
    [".5s", 500],
    ["2.", 2_000],
    ["250ms", 250],
    ["1.5m", 90_000],
    ["1m30s", 90_000],
    ["1m2s3ms", 62_003],
    ["10m", 600_000],
  ])("%s is %d ms: a bare number is seconds", (text, ms) => {
    expect(parseGet(["--deadline", text]).query.deadlineMs).toBe(ms);
  });

  it.each(["", ".", "s", "ms", "0", "1m30", "30s1m", "5e3", "11m", "1h", "soon"])("is not %j", (text) => {
    expect(() => parseGet([`--deadline=${text}`])).toThrow(UsageError);
  });

  it("is seconds in every option, as in watch -n", () => {
    const { options } = parseWatch(["--interval", "10", "--on-change", "--heartbeat", "60"]);
    expect(options).toMatchObject({ intervalMs: 10_000, heartbeatMs: 60_000 });
    expect(parseServe(["--min-interval", "2"]).minIntervalMs).toBe(2_000);
  });

  it("is refused as an interval below 250 ms, where a person has mistaken the unit", () => {
    expect(parseWatch(["--interval", "250ms"]).options.intervalMs).toBe(250);
    expect(() => parseWatch(["--interval", "249ms"])).toThrow(/from 250ms to 1h/);
  });
});

describe("what virsh's users write", () => {
  it("publishes to NATS, alone unless an address to listen on is given", () => {
    const url = "nats://broker:4222";
    const options = ["--nats-interval", "5", "--nats-replicas", "3", "--nats-max-age", "24h", "--nats-prefix", "lab"];
    const { nats, listen } = parseServe(["--nats", url, ...options, "--nats-retain", "1h"]);
    const numbers = { intervalMs: 5_000, replicas: 3, maxAgeMs: 86_400_000, retainMs: 3_600_000 };
    expect(nats).toEqual({ url, prefix: "lab", ...numbers });
    expect(listen).toBeUndefined();
    expect(parseServe(["--nats", url, "--listen", "1"]).listen).toMatchObject({ port: 1 });
    expect(parseServe([]).nats).toBeUndefined();
    expect(() => parseServe(["--nats-retain", "1h"])).toThrow("--nats-retain goes with --nats");
    expect(() => parseServe(["--nats", url, "--nats-replicas", "2"])).toThrow("takes 1, 3 or 5");
  });

  it("listens at a port alone, and says which ports there are", () => {
    expect(parseServe(["--metrics", "9178"]).metrics).toMatchObject({ port: 9_178 });
    expect(() => parseServe(["--metrics", "99999"])).toThrow(
      '--metrics takes HOST:PORT, PORT (0 to 65535) or unix:PATH, not "99999"',
    );
  });

  it("is the URI with -c and --connect", () => {
    expect(parseGet(["-c", "qemu:///session", "--state"]).uris).toEqual(["qemu:///session"]);
    expect(parseWatch(["--connect=qemu:///session"]).uri).toBe("qemu:///session");
    expect(parseDoctor(["-cqemu:///session"]).uri).toBe("qemu:///session");
    expect(parseServe(["-c", "ws://a", "-c", "ws://b", "ws://c"]).uris).toEqual(["ws://a", "ws://b", "ws://c"]);
    expect(parseGet(["-c", "ws://a", "ws://b"]).uris).toEqual(["ws://a", "ws://b"]);
    expect(() => parseWatch(["-c", "ws://a", "ws://b"])).toThrow(/one URI at a time/);
  });
});

describe("a wrong option", () => {
  it("is refused with the option that is meant", () => {
    for (const parse of [parseGet, parseWatch, parseServe]) {
      expect(() => parse(["--token", "secret"])).toThrow(/^Unknown option '--token': did you mean --token-file\?$/);
    }
    expect(() => parseWhy(["test:///default?a=1&b=2", "my guest"])).toThrow(
      /: virstream why 'my guest' 'test:\/\/\/default\?a=1&b=2'$/,
    );
    expect(() => parseDoctor(["--token", "secret"])).toThrow(/^Unknown option '--token'$/);
    expect(() => parseGet(["--ballon"])).toThrow(/^Unknown option '--ballon': did you mean --balloon\?$/);
    expect(() => parseGet(["--list-runing"])).toThrow("did you mean --list-running?");
    expect(() => parseGet(["--connetc", "test:///default"])).toThrow("did you mean --connect?");
    expect(() => parseCheck(["--latencies"])).toThrow("did you mean --latency?");
  });

  it("has the value that is meant, where an option has a few", () => {
    expect(() => parseGet(["--format", "ndjosn"])).toThrow(
      '--format has no "ndjosn" (did you mean ndjson?): choose one of ',
    );
    expect(() => parseGet(["--columns", "gest,cpu"])).toThrow("did you mean guest?");
    expect(() => parseGet(["--per", "disks"])).toThrow("did you mean disk?");
    expect(() => parseGet(["--format", "yaml"])).toThrow(/^--format has no "yaml": choose one of table, csv, /);
  });

  it("--raw is refused beside --rates, which shows no totals", () => {
    for (const parse of [parseGet, parseWatch])
      expect(() => parse(["--raw", "--rates"])).toThrow(/--raw is about totals/);
  });
});

describe("the arguments of record and info", () => {
  it.each<[(args: string[]) => unknown, string[], RegExp]>([
    [parseRecord, [], /record takes a URI and a file/],
    [parseRecord, ["test:///default"], /record takes a URI and a file/],
    [parseRecord, ["test:///default", "x", "--keep", "3"], /--keep goes with --rotate-size/],
    [parseRecord, ["test:///default", "x", "--rotate-size", "5"], /--rotate-size takes a size from 4096 bytes/],
    [parseRecord, ["x", "--heartbeat", "5"], /--heartbeat goes with --on-change/],
    [parseInfo, [], /info takes the file/],
  ])("are refused with the reason: %s %j", (parse, args, message) => {
    expect(() => parse(args)).toThrow(message);
  });

  it("are several sources and one file, and sizes in powers of 1,024", () => {
    const args = parseRecord(["ws://a", "ws://b", "x", "--rotate-size", "1.5M", "--rotate-age", "24h", "--keep", "7"]);
    expect(args).toMatchObject({
      uris: ["ws://a", "ws://b"],
      file: "x",
      rotation: { rotateBytes: 1_572_864, rotateAgeMs: 86_400_000, keep: 7 },
    });
    expect(parseRecord(["-c", "ws://a", "x", "--ca", "a.pem"])).toMatchObject({
      uris: ["ws://a"],
      file: "x",
      caFile: "a.pem",
    });
  });
});

describe("an error of the API", () => {
  it.each([
    [
      "set the option token or the option authenticate, or the option allowAnyone",
      "set --token-file or --tokens, or --allow-anyone",
    ],
    [
      "it goes into the option token of connect()",
      "it goes into --token-file or $VIRSTREAM_TOKEN (for a source of serve --source-token-file)",
    ],
    [
      "ws://a: it refused us (a token is needed): a valid one goes into the option token of connect()",
      "ws://a: it refused us (a token is needed): a valid one goes into --token-file or $VIRSTREAM_TOKEN (for a source of serve --source-token-file)",
    ],
    ["name it in the option origins", "name it in --origin"],
    ["(its option minIntervalMs says", "(--min-interval says"],
    ["pass the authority's certificate with the option ca, or", "pass the authority's certificate with --ca FILE, or"],
    ["the option headers is for Node", "the option headers is for Node"],
  ])("has the switches at the command line: %s", (message, line) => {
    expect(withSwitches(message)).toBe(line);
  });

  it("names no switch itself", () => {
    // The answers of server/web go over HTTP as they are.
    const named = readdirSync("src", { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts") && !/^(cli|doctor|server\/web)\//.test(path))
      .flatMap((path) => {
        const text = readFileSync(`src/${path}`, "utf8");
        const switches = text.match(/--(token-file|source-token-file|allow-anyone|origin|viewers|min-interval|ca)\b/g);
        return switches === null ? [] : [`${path}: ${switches}`];
      });
    expect(named).toEqual([]);
  });
});

describe("a line about a source", () => {
  const lost = (message: string) => new VirstreamError("connection-lost", message);

  it.each([
    ["ws://hv1:1: it ended the connection", "it ended the connection"],
    ["nothing listens at ws://hv1:1: start a server", "nothing listens at it: start a server"],
    ["ws://hv1:1 cannot be reached: ws://hv1:1 is slow", "it cannot be reached: it is slow"],
    ["ws://hv1:16580 is another one", "ws://hv1:16580 is another one"],
    ["out of memory", "out of memory"],
  ])("has its URI once: %s", (message, rest) => {
    expect(sourceText("ws://hv1:1", "connection lost", lost(message))).toBe(`ws://hv1:1: connection lost: ${rest}`);
  });

  it("has the host and the URI where these are two names", () => {
    const text = sourceText("hv1", "connection lost", lost("ws://hv1:1: it broke"));
    expect(text).toBe("hv1: connection lost: ws://hv1:1: it broke");
  });
});
