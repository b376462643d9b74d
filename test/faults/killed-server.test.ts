/** @module-tag any-node */

import { expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { Dice } from "../lab/dice.ts";
import { SweepWitness } from "../lab/kill-witness.ts";
import { killAgainAndAgain } from "../lab/killed-server.ts";

it("Clients of a server that is killed again and again come back by themselves, are told of each outage, and get whole sweeps of the new server only", async () => {
  const dice = new Dice(5);
  const kills = 5;
  const { witnesses, broken } = await killAgainAndAgain({
    ...{ uri: "test:///default?domains=50", domains: 50, kills, dice, clients: 1 },
  });
  expect(broken).toEqual([]);
  for (const witness of witnesses) {
    const { name, outages, told, sweeps } = witness;
    expect([name, told]).toEqual([name, outages]);
    // A client that sweeps may be between two sweeps each time.
    if (!(witness instanceof SweepWitness)) expect(outages).toBeGreaterThan(0);
    expect(sweeps).toBeGreaterThan(kills / 2);
  }
});
