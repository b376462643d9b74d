/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { describeWith } from "../lab/requirement.ts";
import { AttackedServers, type Certificates, makeCertificates } from "./attacked-servers.ts";
import { byKind, INPUTS, PLAIN_INPUTS, PLAIN_INPUTS_OVER_TLS, TLS_INPUTS } from "./inputs/all.ts";
import { type Input, sendAll } from "./inputs/input.ts";
import { attackWatched } from "./watched-attack.ts";

/** How many clients attack at a time; those that wait for the server's time limit all wait at once. */
const AT_ONCE = 12;
/** What a server may keep of inputs that it has seen before: compiled code, and what V8 learns of it. */
const GROWTH_MIB = 1;

describe("a server that clients send hundreds of hostile inputs to", () => {
  it("reacts to each input with the expected code, keeps nothing of the inputs, and a good subscriber misses no tick meanwhile", async () => {
    expect(new Set(INPUTS.map(({ name }) => name)).size).toBe(INPUTS.length);
    expect(PLAIN_INPUTS.length).toBeGreaterThan(1_000);
    await using servers = await AttackedServers.start();
    await attack(servers, undefined, PLAIN_INPUTS, PLAIN_INPUTS);
  });
});

describeWith(["openssl"], "a server with TLS that clients send hundreds of hostile inputs to", () => {
  it("reacts to each input with the expected alert or code, keeps nothing of the inputs, and a good subscriber misses no tick meanwhile", async () => {
    expect(TLS_INPUTS.length).toBeGreaterThan(150);
    const certificates = await makeCertificates();
    await using servers = await AttackedServers.start(certificates);
    await attack(servers, certificates, [...TLS_INPUTS, ...PLAIN_INPUTS_OVER_TLS], TLS_INPUTS);
  });
});

/** @param again are sent a second time, after which the memory must be the same */
async function attack(
  servers: AttackedServers,
  certificates: Certificates | undefined,
  inputs: readonly Input[],
  again: readonly Input[],
): Promise<void> {
  const quick = (all: readonly Input[]): Input[] => all.filter(({ silent }) => !silent);
  const stopping = inputs.filter(({ silent }) => silent);
  await attackWatched(servers, certificates, async ({ target, settled }) => {
    for (const [kind, group] of byKind(quick(inputs))) {
      expect(await sendAll(group, target, AT_ONCE), kind).toEqual([]);
      await settled(kind);
    }
    expect(await sendAll(stopping, target, stopping.length)).toEqual([]);
    const { heap } = await settled("clients that stop");
    expect(await sendAll(quick(again), target, AT_ONCE)).toEqual([]);
    expect((await settled("all of them")).heap - heap).toBeLessThan(GROWTH_MIB);
  });
}
