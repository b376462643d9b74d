import { describe, expect, it } from "vitest";
import { connect, VirstreamError } from "../../src/index.ts";
import { VECTORS, VectorServer, type VectorStep } from "../examples/vector-server.ts";
import { until } from "../until.ts";

/** Runs the sweep or the watch of a session. Returns the error with which it ends. */
async function endOf(url: string, steps: readonly VectorStep[]): Promise<VirstreamError> {
  try {
    await using connection = await connect(url);
    const isWatch = steps.some(({ client }) => client?.type === "watch");
    if (!isWatch) await connection.getAllDomainStats();
    else for await (const _ of connection.watch().events) await Promise.resolve();
  } catch (error) {
    return VirstreamError.from(error);
  }
  throw new Error("it ended without an error");
}

describe("this package's client closes the connection with 4400 when it gets", () => {
  it.each(VECTORS.refused)("$why", async ({ steps }) => {
    await using server = await VectorServer.start(steps);
    const error = await endOf(server.url, steps);
    expect(error.code).toBe("protocol-error");
    await until(() => server.closed.length > 0);
    expect(server.closed[0]).toBe(4400);
  });
});
