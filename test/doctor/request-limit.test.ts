import { describe, expect, it } from "vitest";
import { measureRequestLimit } from "../../src/doctor/request-limit.ts";
import { TimeLimit } from "../../src/doctor/time-limit.ts";
import { dialDaemon } from "../../src/drivers/libvirt/dial.ts";
import { openTransport } from "../../src/drivers/libvirt/transport/transport.ts";
import { parseLibvirtUri } from "../../src/drivers/libvirt/transport/uri.ts";
import { FakeDaemon, remoteError, statsReply, words } from "../drivers/libvirt/rpc/fake-daemon.ts";
import { startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";

const never = new AbortController().signal;

async function measure(uri: string, timeLimit = new TimeLimit(10_000, never)) {
  const { client } = await dialDaemon(
    { uri: parseLibvirtUri(uri), transports: openTransport, timeoutMs: 10_000 },
    undefined,
  );
  try {
    return await measureRequestLimit(client, timeLimit);
  } finally {
    await client.close();
  }
}

describeWith(labRequirements, "The requests of one connection that libvirtd works on at a time", () => {
  it.each([1, 2, 3])("are seen to be %i when max_client_requests says so", async (limit) => {
    await using libvirtd = await startLibvirtd({ conf: [`max_client_requests = ${limit}`] });
    const found = await measure(libvirtd.uri);
    // The number is never too high. On a very busy machine it may not be seen often enough to be believed.
    if (found?.sure) expect(found.atLeast).toBe(limit);
    else expect(found!.atLeast).toBeLessThanOrEqual(limit);
  });

  it("are seen to be enough when they are, as by default", async () => {
    await using libvirtd = await startLibvirtd();
    expect(await measure(libvirtd.uri)).toEqual({ atLeast: 5, sure: true });
  });
});

describe("The requests of one connection that a daemon works on at a time", () => {
  const EMPTY = { ok: statsReply() };

  it("are proven by the first burst in which the quick call comes first: four slow calls and no more", async () => {
    await using daemon = await FakeDaemon.start();
    const waiting: (() => void)[] = [];
    let opened = false;
    daemon.answer = (request, socket) => {
      if (request.procedure === 344) {
        waiting.push(() => daemon.reply(socket, request, EMPTY));
        return undefined;
      }
      if (request.procedure !== 157 || !opened) {
        opened ||= request.procedure === 157;
        return "default";
      }
      daemon.reply(socket, request, "default");
      for (const answer of waiting) answer();
      return undefined;
    };
    expect(await measure(daemon.uri())).toEqual({ atLeast: 5, sure: true });
    const asked = daemon.requests.filter(({ procedure }) => procedure === 344);
    expect(asked).toHaveLength(4);
    for (const { payload } of asked) {
      // So many domains; every one of them with an empty name, the uuid that nobody has, and no id; the state; no flags.
      const count = payload.readUInt32BE(0);
      const nobody = Buffer.concat(new Array(count).fill(words(0, 0, 0, 0, 0, -1)));
      expect(payload.subarray(4, 4 + 24 * count).equals(nobody)).toBe(true);
      expect(payload.subarray(4 + 24 * count)).toEqual(words(1, 0));
    }
  });

  it("are sure to be few when the answers agree, and not when they do not", async () => {
    await using daemon = await FakeDaemon.start();
    // The daemon answers in turn: what it is asked, it answers at once, and the quick call where the script says.
    const script = [4, 3, 4, 2, 4, 3, 4, 4, 4, 3];
    let bursts = 0;
    let slow: (() => void)[] = [];
    let opened = false;
    daemon.answer = (request, socket) => {
      if (request.procedure === 344) {
        slow.push(() => daemon.reply(socket, request, EMPTY));
        return undefined;
      }
      if (request.procedure !== 157 || !opened) {
        opened ||= request.procedure === 157;
        return "default";
      }
      const before = script[bursts++]!;
      for (const answer of slow.slice(0, before)) answer();
      daemon.reply(socket, request, "default");
      for (const answer of slow.slice(before)) answer();
      slow = [];
      return undefined;
    };
    expect(await measure(daemon.uri())).toEqual({ atLeast: 3, sure: false });
    expect(bursts).toBe(script.length);
    script.splice(0, script.length, 4, 3, 4, 3, 3, 4, 3, 3);
    bursts = 0;
    opened = false;
    expect(await measure(daemon.uri())).toEqual({ atLeast: 2, sure: true });
    expect(bursts).toBe(8);
  });

  it("are not known when the daemon does not answer, or not what it was asked", async () => {
    await using daemon = await FakeDaemon.start();
    let asked = false;
    daemon.answer = ({ procedure }) => {
      asked ||= procedure === 344;
      return asked && procedure !== 2 ? undefined : "default";
    };
    expect(await measure(daemon.uri(), new TimeLimit(300, never))).toBeUndefined();
    daemon.answer = ({ procedure }) => (procedure === 344 ? { error: remoteError(38, 10, "no") } : "default");
    expect(await measure(daemon.uri())).toBeUndefined();
  });
});
