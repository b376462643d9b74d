/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { requirement } from "../lab/requirement.ts";
import { AttackedServers, makeCertificates } from "./attacked-servers.ts";
import { storm } from "./storm.ts";
import { attackWatched } from "./watched-attack.ts";

/** `npm run bench:hostile -- --only storm` does the same for a minute. */
const COUNT = 200;
const GROWTH_MIB = 1;

describe("a server to which hundreds of connections are opened and dropped, half of them in the middle of a handshake", () => {
  it("keeps no descriptor, timer or memory of them, and good subscribers miss no tick meanwhile", async () => {
    const certificates = requirement("openssl").met ? await makeCertificates() : undefined;
    await using servers = await AttackedServers.start(certificates);
    await attackWatched(servers, certificates, async ({ target, settled }) => {
      await storm(target, COUNT);
      const { heap, accepted } = await settled("the first storm");
      await storm(target, COUNT);
      const after = await settled("the second storm");
      expect(after.accepted - accepted).toBeGreaterThanOrEqual(COUNT / 2);
      expect(after.heap - heap).toBeLessThan(GROWTH_MIB);
    });
  });
});
