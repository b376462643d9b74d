import { once } from "node:events";
import { expect, it } from "vitest";
import { NatsServer } from "../lab/nats-server.ts";
import { describeWith } from "../lab/requirement.ts";
import { start, virstream } from "./run.ts";

describeWith(["nats-server"], "virstream serve --nats", () => {
  it("prints what get and watch read, and no secret", async () => {
    await using nats = await NatsServer.start({ configuration: "authorization { token: s3cret }" });
    const url = `nats://s3cret@127.0.0.1:${nats.port}`;
    const options = ["--nats-interval", "250ms", "--nats-prefix", "lab"];
    const publisher = start(["serve", "test:///default?domains=3&host=hv1", "--nats", url, ...options]);
    let log = "";
    publisher.stderr.on("data", (bytes: Buffer) => {
      log += bytes;
    });
    const ended = once(publisher, "close");
    const [printed] = (await once(publisher.stdout, "data")) as [Buffer];
    expect(`${printed}`).toBe(`nats://127.0.0.1:${nats.port}/lab\n`);
    await expect
      .poll(() => virstream(["get", `${url}/lab`, "--state"]), { timeout: 100_000 })
      .toMatchObject({ code: 0 });
    const watch = ["watch", `${url}/lab`, "--state", "--count", "2", "--interval", "250ms", "--format", "ndjson"];
    const { stdout, code } = await virstream(watch);
    expect([code, stdout.split("\n").filter((line) => line.includes(`"event":"sync"`)).length]).toEqual([0, 2]);
    const other = await virstream(["get", `${url}/other`]);
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("there is no bucket other yet") });
    publisher.kill("SIGINT");
    await ended;
    for (const text of [log, other.stderr]) expect(text).not.toContain("s3cret");
    expect(log).toContain("publishing to nats://127.0.0.1");
  });

  it("says what to start where no server listens", async () => {
    const args = ["serve", "test:///default", "--nats", "nats://user:s3cret@127.0.0.1:1"];
    const { code, stderr } = await virstream(args);
    expect(code).toBe(1);
    expect(stderr).toMatch(/nothing listens there: start nats-server.*connection-refused/);
    expect(stderr).not.toContain("s3cret");
  });
});
