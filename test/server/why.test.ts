/** @module-tag any-node */

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { Connection } from "../../src/index.ts";
import type { DomainIdentity } from "../../src/model/record.ts";
import {
  type Diagnosis,
  type Explain,
  type ServeOptions,
  serve,
  type VirstreamServer,
} from "../../src/server/index.ts";
import { answerAt } from "../answer.ts";
import { own } from "../owned.ts";
import { PATIENCE, until } from "../until.ts";
import { RecordingDriver } from "./recording-driver.ts";

function diagnosisOf(domain: DomainIdentity): Diagnosis {
  return { domain, wrong: true, summary: `${domain.name} is ill.`, evidence: ["it says so"], remedy: ["rest"] };
}

/** A server of ten guests whose examinations are the test's. */
async function served(explain?: Explain, options: ServeOptions = {}) {
  const driver = new RecordingDriver(10);
  const server = own(await serve(own(new Connection(driver)), { port: 0, ...(explain && { explain }), ...options }));
  return { driver, server };
}

async function why(
  server: VirstreamServer,
  guest: string | undefined,
  token?: string,
): Promise<{ status: number; text: string }> {
  const query = guest === undefined ? "" : `?${new URLSearchParams({ domain: guest })}`;
  const response = await fetch(`${server.url.replace("ws:", "http:")}/why${query}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  return { status: response.status, text: (await response.text()).trimEnd() };
}

/** The status of a request with these headers. */
async function statusWith(server: VirstreamServer, guest: string, headers: Record<string, string>): Promise<number> {
  return (await answerAt(`${server.url.replace("ws:", "http:")}/why?domain=${guest}`, { headers })).status;
}

describe("/why", () => {
  it("answers what is wrong with a guest, by its uuid or its name, as JSON", async () => {
    const { driver, server } = await served(async (domain) => diagnosisOf(domain));
    const [uuid, name] = [driver.uuid(3), driver.name(3)];
    for (const guest of [uuid, name]) {
      const { status, text } = await why(server, guest);
      expect(status).toBe(200);
      expect(JSON.parse(text)).toMatchObject({ ...diagnosisOf({ uuid, name, id: 4, host: driver.host }) });
    }
  });

  it("has nothing to say of a guest that does not exist, of none, and where the server cannot find it out", async () => {
    const explain = vi.fn<Explain>(async (domain) => diagnosisOf(domain));
    const { driver, server } = await served(explain);
    expect(await why(server, "nobody")).toEqual({ status: 404, text: "there is no such guest" });
    const nobody = "name the guest by its name or uuid: /why?domain=NAME";
    expect(await why(server, undefined)).toEqual({ status: 400, text: nobody });
    expect(explain).not.toHaveBeenCalled();
    const { server: without } = await served();
    expect(await why(without, driver.uuid(3))).toEqual({ status: 404, text: "nothing here" });
  });

  it("tells a client of the guests that it sees, and treats all others like guests that do not exist, without asking for them", async () => {
    const explain = vi.fn<Explain>(async (domain) => diagnosisOf(domain));
    const [ann, web] = ["ann's", "web's"];
    const viewers = [
      { name: "ann", token: ann, domains: ["guest-00001"] },
      { name: "web", token: web, names: ["guest-0000[12]"] },
      { name: "few", token: "few", names: ["*"], groups: ["state"] as const },
    ];
    const { driver, server } = await served(explain, { token: "all", viewers });
    for (const token of [ann, web, "all"]) expect((await why(server, driver.uuid(1), token)).status).toBe(200);
    driver.queries.length = 0;
    for (const token of [ann, web]) {
      for (const guest of [driver.uuid(5), driver.name(5), "nobody"])
        expect(await why(server, guest, token)).toEqual({ status: 404, text: "there is no such guest" });
    }
    expect(driver.asked.filter((asked) => asked === driver.uuid(5) || asked === driver.name(5))).toEqual([]);
    expect(explain).toHaveBeenCalledTimes(1);
    expect((await why(server, driver.uuid(1), "few")).status).toBe(403);
    for (const token of ["a guess", undefined]) expect((await why(server, driver.uuid(1), token)).status).toBe(401);
  });

  it("is not for a token of the role metrics, and not for one that has expired", async () => {
    const { driver, server } = await served(async (domain) => diagnosisOf(domain), {
      authenticate: (_, token) =>
        token === "metrics" ? { name: "m", role: "metrics" } : { name: "old", expiresAt: Date.now() - 1 },
    });
    expect((await why(server, driver.uuid(1), "metrics")).status).toBe(403);
    expect((await why(server, driver.uuid(1), "old")).status).toBe(401);
  });

  it("refuses pages of other sites, and a name of the server that a page may have made up", async () => {
    const explain = vi.fn<Explain>(async (domain) => diagnosisOf(domain));
    const { driver, server } = await served(explain);
    const uuid = driver.uuid(1);
    expect(await statusWith(server, uuid, { "sec-fetch-site": "cross-site" })).toBe(403);
    expect(await statusWith(server, uuid, { host: "evil.example" })).toBe(403);
    expect(explain).not.toHaveBeenCalled();
    expect(await statusWith(server, uuid, { "sec-fetch-site": "same-origin" })).toBe(200);
  });

  it("examines a guest once for all clients that ask at a time, and not again for some seconds", async () => {
    const explain = vi.fn<Explain>(async (domain) => {
      await sleep(50);
      return diagnosisOf(domain);
    });
    const { driver, server } = await served(explain);
    const answers = await Promise.all(Array.from({ length: 5 }, () => why(server, driver.uuid(1))));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect((await why(server, driver.name(1))).status).toBe(200);
    expect(explain).toHaveBeenCalledTimes(1);
  });

  it("examines four guests at a time, and asks clients to try again for others", async () => {
    const ends: (() => void)[] = [];
    const explain = vi.fn<Explain>(async (domain) => {
      await new Promise<void>((resolve) => ends.push(resolve));
      return diagnosisOf(domain);
    });
    const { driver, server } = await served(explain);
    const first = [0, 1, 2, 3].map((guest) => why(server, driver.uuid(guest)));
    await expect.poll(() => ends.length, PATIENCE).toBe(4);
    const refused = await why(server, driver.uuid(4));
    expect(refused.status).toBe(503);
    expect(refused.text).toMatch(/\[limit-exceeded\]$/);
    for (const end of ends) end();
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const last = why(server, driver.uuid(4));
    await expect.poll(() => ends.length, PATIENCE).toBe(5);
    ends[4]!();
    expect((await last).status).toBe(200);
  });

  it("gives an examination twelve seconds, and then its place to another guest", async () => {
    const explain = vi.fn<Explain>(() => new Promise(() => {}));
    const { driver, server } = await served(explain);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const late = [0, 1, 2, 3].map((guest) => why(server, driver.uuid(guest)));
      await until(() => explain.mock.calls.length === 4);
      await vi.advanceTimersByTimeAsync(11_999);
      expect((await why(server, driver.uuid(4))).text).toMatch(/\[limit-exceeded\]$/);
      await vi.advanceTimersByTimeAsync(1);
      for (const { status, text } of await Promise.all(late)) {
        expect([status, text]).toEqual([503, expect.stringMatching(/\[deadline-exceeded\]$/)]);
      }
      explain.mockImplementation(async (domain) => diagnosisOf(domain));
      expect((await why(server, driver.uuid(4))).status).toBe(200);
    } finally {
      vi.useRealTimers();
    }
  });

  it("is cancelled when the server closes", async () => {
    let cancelled: AbortSignal | undefined;
    const { driver, server } = await served((_, signal) => {
      cancelled = signal;
      return new Promise(() => {});
    });
    const answer = why(server, driver.uuid(1)).catch((error) => error);
    await expect.poll(() => cancelled, PATIENCE).toBeDefined();
    await server.close();
    expect(cancelled!.aborted).toBe(true);
    await answer;
  });

  it("says why a guest could not be examined", async () => {
    const { driver, server } = await served(async () => {
      throw new Error("the host is on fire");
    });
    const { status, text } = await why(server, driver.uuid(1));
    expect(status).toBe(500);
    expect(text).toContain("the host is on fire");
  });
});
