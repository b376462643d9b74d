import { expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { serve } from "../../src/server/server.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { startTestDriver } from "../lab/test-driver.ts";
import { until } from "../until.ts";
import { WatchClient } from "./watch-client.ts";

describeWith(labRequirements, "a server of a libvirtd that was stopped with SIGSTOP", () => {
  it("is degraded and not ready after one sweep of failed records, and well again after it continues", async () => {
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
});
