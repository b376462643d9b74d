import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/connect.ts";
import type { Dice } from "./dice.ts";
import { JsonWitness, type KillWitness, SweepWitness, WatchWitness } from "./kill-witness.ts";
import { ServedProcess } from "./served-process.ts";

/** A client that gets nothing for so long hangs. */
const PATIENCE_MS = 60_000;
const INTERVAL_MS = 200;
/** Clients connect again soon: with their defaults they wait longer for a server that dies again and again. */
const RECONNECT = { initialMs: 20, maxMs: 250 };

/** How often a server is killed, and how many clients of each kind it has. */
export interface KillsOptions {
  readonly uri: string;
  /** How many domains it serves. */
  readonly domains: number;
  readonly kills: number;
  readonly dice: Dice;
  /** Of each kind: watches of all, watches of what changes, watches in JSON, and clients that sweep all the time. */
  readonly clients: number;
  /** Called now and then with the number of kills so far. */
  readonly onProgress?: (kills: number) => void;
}

/** What came of it. Times in ms. */
export interface KillsOutcome {
  readonly witnesses: readonly KillWitness[];
  /** From the kill until it listens again. */
  readonly restarts: readonly number[];
  /** From then until a client has its first whole sweep, for each client and kill at which it had to wait for one. */
  readonly firstSweeps: readonly number[];
  readonly broken: readonly string[];
}

/**
 * Kills a server with SIGKILL at random moments, also before all clients are back, and starts it again at once. Rejects
 * when a client hangs.
 */
export async function killAgainAndAgain(options: KillsOptions): Promise<KillsOutcome> {
  const { uri, domains, kills, dice, clients, onProgress } = options;
  const limits = { minIntervalMs: INTERVAL_MS / 2 };
  await using server = await ServedProcess.start({ uri, limits });
  const killed = { url: server.url, domains, killedAt: 0 };
  const witnesses: KillWitness[] = [];
  const restarts: number[] = [];
  const firstSweeps: number[] = [];
  try {
    for (let i = 1; i <= clients; i++) {
      const open = () => connect(server.url, { reconnect: RECONNECT });
      witnesses.push(
        new WatchWitness(`watch ${i}`, killed, await open(), { intervalMs: INTERVAL_MS }),
        new WatchWitness(`watch ${i} of changes`, killed, await open(), {
          ...{ intervalMs: INTERVAL_MS, mode: "on-change", heartbeatMs: 1_000 },
        }),
        new JsonWitness(`watch ${i} in JSON`, killed, INTERVAL_MS),
        new SweepWitness(`sweeps ${i}`, killed, await open()),
      );
    }
    const allSwept = (since: number) => Promise.all(witnesses.map((each) => each.sweptSince(since, PATIENCE_MS)));
    await allSwept(0);
    for (let kill = 0; kill < kills; kill++) {
      if (kill % 20 === 0) onProgress?.(kill);
      // Two of three come when all clients are back; the others at any time after the start.
      const isLate = dice.below(3) > 0;
      const waitMs = dice.below(isLate ? 2 * INTERVAL_MS : 500);
      await sleep(waitMs);
      const at = performance.now();
      await server.kill();
      killed.killedAt = Date.now();
      await server.restart();
      const upAt = performance.now();
      restarts.push(upAt - at);
      const next = dice.below(3) > 0 || kill === kills - 1;
      if (!next) continue;
      firstSweeps.push(...(await allSwept(upAt)).map((sweptAt) => sweptAt - upAt));
      await allSwept(performance.now());
    }
  } finally {
    for (const witness of witnesses) await witness[Symbol.asyncDispose]();
  }
  return { witnesses, restarts, firstSweeps, broken: witnesses.flatMap(({ broken }) => broken) };
}
