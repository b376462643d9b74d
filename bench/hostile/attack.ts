import { setTimeout as sleep } from "node:timers/promises";
import { CLIENT_REQUESTS } from "../../test/hostile/client-requests.ts";
import { INPUTS } from "../../test/hostile/inputs/all.ts";
import { sendAll, type Target } from "../../test/hostile/inputs/input.ts";
import { frameOf, Opcode, RawPeer } from "../../test/hostile/inputs/raw-peer.ts";
import { Mutator } from "../../test/hostile/mutator.ts";
import { TOKEN } from "../../test/hostile/sites.ts";
import { Dice } from "../../test/lab/dice.ts";
import { AttackedPair } from "./attacked-pair.ts";

/** How many clients send inputs at a time, and how many send damaged requests. */
const AT_ONCE = 16;
const FLOODS = 4;
/** How many damaged requests are sent on each connection, unless the server closes the connection earlier. */
const BURST = 50;
/** The inputs to which the server's reaction does not depend on a short time limit. */
const QUICK = INPUTS.filter(({ silent, site }) => !silent && site !== "users");
/**
 * The longest time between two ticks of the attacked server may be at most this many times that of the other server.
 */
const MOST = 2;
/** The wait after the attack, in ms: the server keeps the channels of lost clients for up to 30 s. */
const RECOVERY_MS = 35_000;

/**
 * Starts two processes of servers, each with a subscriber at the same interval, in ms. One of the processes is attacked
 * with all hostile inputs, again and again, and with damaged requests. Compares the longest times between two ticks.
 */
export async function benchAttack(lastingMs: number, seed: number, intervalMs: number): Promise<void> {
  await using control = await AttackedPair.start(intervalMs);
  await using attacked = await AttackedPair.start(intervalMs);
  await sleep(2_000);
  const before = await attacked.server.call("figures");
  await Promise.all([control, attacked].map(({ subscriber }) => subscriber.call("figures")));
  console.error(`hostile: ${QUICK.length} inputs, again and again, for ${lastingMs / 1_000} s`);
  const until = performance.now() + lastingMs;
  const dice = new Dice(seed);
  const [inputs, ...floods] = await Promise.all([
    inputsUntil(until, attacked.target),
    ...Array.from({ length: FLOODS }, () =>
      floodUntil(until, attacked.target.ports.guarded!, new Dice(dice.below(2 ** 32))),
    ),
  ]);
  const requests = floods.reduce((sum, sent) => sum + sent, 0);
  const [calm, hit] = [await control.subscriber.call("figures"), await attacked.subscriber.call("figures")];
  console.error("hostile: waiting until the server has given up the lost clients");
  await sleep(RECOVERY_MS);
  const after = await attacked.server.call("figures");
  const ratio = hit.longestMs / Math.max(calm.longestMs, intervalMs);
  console.log(`
| a subscriber at ${1_000 / intervalMs} tick per second | of the attacked server | of another one |
| --- | ---: | ---: |
| ticks | ${hit.ticks} | ${calm.ticks} |
| ticks left out | ${hit.skipped} | ${calm.skipped} |
| the longest time between two | ${hit.longestMs.toFixed(0)} ms | ${calm.longestMs.toFixed(0)} ms |
| … ratio (at most ${MOST}) | ${ratio.toFixed(2)} | |
| **the attacked server** | **afterwards** | **before** |
| clients, descriptors, timers | ${after.clients}, ${after.descriptors}, ${after.timers} | ${before.clients}, ${before.descriptors}, ${before.timers} |
| heap | ${after.heap.toFixed(1)} MiB | ${before.heap.toFixed(1)} MiB |

${inputs.toLocaleString("en")} inputs and ${requests.toLocaleString("en")} damaged requests in ${lastingMs / 1_000} s.`);
  if (ratio > MOST) throw new Error(`the longest gap is ${ratio.toFixed(2)} times that of the other server`);
  if (after.clients !== before.clients || after.descriptors > before.descriptors)
    throw new Error("connections are left");
}

/** Sends all inputs until a time, and returns how many it sent. Throws when the server reacts in another way than it must. */
async function inputsUntil(until: number, target: Target): Promise<number> {
  let sent = 0;
  for (; performance.now() < until; sent += QUICK.length) {
    const wrong = await sendAll(QUICK, target, AT_ONCE);
    if (wrong.length > 0) throw new Error(wrong.join("\n"));
  }
  return sent;
}

/** Sends damaged requests until a time, and returns how many it sent. */
async function floodUntil(until: number, port: number, dice: Dice): Promise<number> {
  const mutator = new Mutator(dice);
  const frames = CLIENT_REQUESTS.sessions.flat();
  const frame = (): Uint8Array => frames[dice.below(frames.length)]!;
  let sent = 0;
  while (performance.now() < until) {
    const peer = await RawPeer.connect(port);
    await peer.upgrade("virstream.v1");
    peer.say({ type: "hello", token: TOKEN });
    for (let i = 0; i < BURST; i++) peer.send(frameOf(Opcode.text, CLIENT_REQUESTS.damage(mutator, frame(), frame())));
    sent += BURST;
    await peer.reaction();
    await peer.close();
  }
  return sent;
}
