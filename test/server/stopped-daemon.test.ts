import { once } from "node:events";
import { expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { serve } from "../../src/server/server.ts";
import { start } from "../cli/run.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { startTestDriver } from "../lab/test-driver.ts";
import { until } from "../until.ts";
import { WatchClient } from "./watch-client.ts";

describeWith(labRequirements, "a server of a libvirtd that was stopped with SIGSTOP", () => {
  it("is degraded and not ready after one sweep of failed records, and ok again after libvirtd continues", async () => {
    await using daemon = await startTestDriver({ domains: 3 });
    await using connection = await connect(daemon.uri);
    await using server = await serve(connection, { port: 0 });
    const ready = async () => (await fetch(`${server.url.replace("ws:", "http:")}/readyz`)).status;
    const client = await WatchClient.connect(server);
    const watch = client.watch(1, { deadlineMs: 1_000 });
    await until(() => watch.ticks.length > 0);
    expect([server.health().status, await ready()]).toEqual(["ok", 200]);
    await daemon.libvirtd.kill("SIGSTOP");
    await until(() => server.health().status === "degraded");
    expect(await ready()).toBe(503);
    // libvirt's keepalive has not given up the connection: the failed records alone showed it.
    expect(connection.driver.absent ?? []).toEqual([]);
    await daemon.libvirtd.kill("SIGCONT");
    await until(() => server.health().status === "ok");
    expect(await ready()).toBe(200);
    await client.close();
  });

  it("has a line in the log of `virstream serve` when this begins and when it ends", async () => {
    await using daemon = await startTestDriver({ domains: 3 });
    const program = start(["serve", daemon.uri, "--listen", "127.0.0.1:0"]);
    try {
      let log = "";
      program.stderr.setEncoding("utf8").on("data", (text: string) => {
        log += text;
      });
      const [url] = (await once(program.stdout.setEncoding("utf8"), "data")) as [string];
      const client = await WatchClient.connect({ url: url.trim() });
      client.watch(1, { deadlineMs: 1_000 });
      await client.settled();
      await daemon.libvirtd.kill("SIGSTOP");
      await until(() => log.includes("a watched host fails every record: see /healthz"));
      await daemon.libvirtd.kill("SIGCONT");
      await until(() => log.includes("the watched hosts give statistics again, after "));
      await client.close();
    } finally {
      program.kill();
      await once(program, "close");
    }
  });
});
