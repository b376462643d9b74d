import { once } from "node:events";
import { expect, it } from "vitest";
import { WebSocket } from "ws";
import { Connection } from "../../src/client/connection.ts";
import { LibvirtDriver } from "../../src/drivers/libvirt/driver.ts";
import { serve } from "../../src/server/server.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { createGuests } from "../lab/guest.ts";
import { startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";

const TICKS = 7;

type Block = readonly [slot: number, rows: number];
interface Message {
  readonly type: string;
  readonly full?: readonly Block[];
  readonly changed?: readonly Block[];
}

describeWith(labRequirements, "A served watch of more real guests than one connection can ask at a time", () => {
  it("sends each guest's record whole in the first tick, and as its changes in all that follow", async () => {
    await using libvirtd = await startLibvirtd();
    await createGuests(libvirtd, 12, { nics: 1, paused: true });
    await using connection = new Connection(await LibvirtDriver.open(libvirtd.uri));
    await using server = await serve(connection, { port: 0, limits: { minIntervalMs: 250 } });
    const socket = new WebSocket(server.url, "virstream.v1");
    await once(socket, "open");
    socket.send('{"type":"hello"}');
    socket.send('{"type":"watch","id":1,"intervalMs":250}');
    const rows = (blocks: readonly Block[] = []) => blocks.reduce((sum, [, count]) => sum + count, 0);
    const ticks = [{ full: 0, changed: 0 }];
    let schemas = 0;
    socket.on("message", (data: Buffer) => {
      const message = unpack(data) as Message;
      const tick = ticks.at(-1)!;
      if (message.type === "schema") schemas++;
      tick.full += rows(message.full);
      tick.changed += rows(message.changed);
      if (message.type === "sync") ticks.push({ full: 0, changed: 0 });
      if (ticks.length > TICKS) socket.close();
    });
    await once(socket, "close");
    expect(ticks.slice(0, TICKS)).toEqual([
      { full: 12, changed: 0 },
      ...Array.from({ length: TICKS - 1 }, () => ({ full: 0, changed: 12 })),
    ]);
    expect(schemas).toBe(1);
  });
});
