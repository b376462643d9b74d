import { describe, expect, it } from "vitest";
import { Connection } from "../../../src/client/connection.ts";
import { RemoteDriver } from "../../../src/drivers/remote/driver.ts";
import { openPageWatch } from "../../../src/drivers/remote/page-watch.ts";
import { RemoteWatch } from "../../../src/drivers/remote/watch.ts";
import { checkQuery } from "../../../src/model/query.ts";
import { checkCadence } from "../../../src/model/watch.ts";
import { CollectingSink } from "../../sampling/collecting-sink.ts";
import { until } from "../../until.ts";
import { ScriptedSocket } from "./scripted-socket.ts";

/** A driver of a page that has not loaded the code of watches, and its only socket. */
async function page() {
  let loaded = (): void => {};
  let failed: (reason: Error) => void = () => {};
  const code = new Promise<{ RemoteWatch: typeof RemoteWatch }>((resolve, reject) => {
    loaded = () => resolve({ RemoteWatch });
    failed = reject;
  });
  const socket = new ScriptedSocket();
  const platform = { openSocket: () => socket, openWatch: openPageWatch(() => code) };
  const driver = new RemoteDriver("ws://server.example", platform, {});
  const opened = driver.opened();
  socket.welcome();
  await opened;
  return { driver, socket, loaded, failed };
}

describe("A watch in a page whose code is not there yet", () => {
  it("is sent when the code is there", async () => {
    const { driver, socket, loaded } = await page();
    const stop = driver.watch(checkQuery(), checkCadence(), new CollectingSink());
    expect(socket.ofType("watch")).toEqual([]);
    loaded();
    await until(() => socket.ofType("watch").length === 1);
    stop();
    expect(socket.ofType("cancel")).toHaveLength(1);
    await driver.close();
  });

  it("is never sent if it is stopped before", async () => {
    const { driver, socket, loaded } = await page();
    driver.watch(checkQuery(), checkCadence(), new CollectingSink())();
    const other = driver.watch(checkQuery(), checkCadence(), new CollectingSink());
    loaded();
    await until(() => socket.ofType("watch").length > 0);
    expect(socket.ofType("watch")).toHaveLength(1);
    other();
    await driver.close();
  });

  it("ends with an error if the code cannot be had", async () => {
    const { driver, failed } = await page();
    const sink = new CollectingSink();
    driver.watch(checkQuery(), checkCadence(), sink);
    failed(new TypeError("error loading dynamically imported module"));
    await until(() => sink.error !== undefined);
    expect(sink.error).toMatchObject({ code: "internal", message: expect.stringContaining("imported module") });
    await driver.close();
  });

  it("completes if the connection is closed before", async () => {
    const { driver } = await page();
    const connection = new Connection(driver);
    const watched = connection.watch().toArray();
    await connection.close();
    expect(await watched).toEqual([]);
  });
});
