import { execFileSync } from "node:child_process";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { connectAll } from "../../src/client/connect.ts";
import type { OpenOptions } from "../../src/driver/driver.ts";
import { openDriver, registerDriver } from "../../src/driver/registry.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";

const opened: OpenOptions[] = [];
registerDriver("test", async (uri, options) => {
  opened.push(options);
  return new SimulatedDriver(uri);
});

/** What a program prints that imports the built package. */
function run(program: string): string {
  return execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" });
}

describe("Opening a driver by its scheme", () => {
  it("takes the scheme in capitals, too", async () => {
    expect((await openDriver("TEST:///default")).hypervisor).toBe("test");
  });

  it("names the known schemes in the error for an unknown scheme, and for a text that is no URI", async () => {
    await expect(openDriver("tset:///default")).rejects.toMatchObject({
      code: "unknown-scheme",
      message: expect.stringMatching(/there are drivers for (\w+, )*test\b/),
    });
    for (const none of ["default", undefined as unknown as string]) {
      await expect(openDriver(none)).rejects.toMatchObject({ code: "invalid-uri" });
    }
    expect(() => registerDriver("Test", openDriver)).toThrow(expect.objectContaining({ code: "invalid-argument" }));
  });

  it("takes the program's own driver, whatever entry of the package is loaded after that", async () => {
    await import("../../src/browser.ts");
    await import("../../src/index.ts");
    const before = opened.length;
    await openDriver("test:///default");
    expect(opened).toHaveLength(before + 1);
  });

  it("opens ws: URIs with the driver for Node also where virstream/browser is loaded before or after virstream", () => {
    const program = (first: string, second: string) => `
      delete globalThis.WebSocket; // as in Node 20
      const one = await import("${first}");
      const other = await import("${second}");
      const { serve } = await import("virstream/server");
      const server = await serve(await one.connect("test:///default"), { port: 0 });
      for (const { connect } of [one, other]) {
        const client = await connect(server.url);
        console.log((await client.getAllDomainStats()).length);
        await client.close();
      }
      await server.close();`;
    for (const [first, second] of [
      ["virstream", "virstream/browser"],
      ["virstream/browser", "virstream"],
    ] as const) {
      expect(run(program(first, second))).toBe("12\n12\n");
    }
  });

  it("says what to import where a runtime has no WebSocket", () => {
    const program = `
      delete globalThis.WebSocket;
      const { connect } = await import("virstream/browser");
      await connect("ws://127.0.0.1:1").catch(({ code, message }) => console.log(code, message));`;
    expect(run(program)).toMatch(/^unsupported this runtime has no WebSocket: import "virstream",/);
  });

  it("repeats no password and no token in an error, and refuses a ws: URI that has one", async () => {
    await import("../../src/index.ts");
    const uris = [
      "ws://user:PASSWORD@127.0.0.1:1",
      "ws://user:PASS@WORD@127.0.0.1:1",
      "ws://user:PASSWORD@127.0.0.1:999999",
      "ws://127.0.0.1:1/?token=PASSWORD",
      "ws://127.0.0.1:1/?a=1&access_token=PASSWORD",
      "//user:PASSWORD@127.0.0.1",
    ];
    for (const uri of uris) {
      for (const opening of [openDriver(uri), connectAll([uri])]) {
        const error: unknown = await opening.catch((error) => error);
        expect(error).toMatchObject({ code: "invalid-uri" });
        expect(inspect(error, { depth: 5 }), uri).not.toMatch(/PASS|WORD/);
      }
    }
  });

  it.each([
    ["ws://127.0.0.1:1/?host=a", /a ws:\/\/ URI has no parameter host=/],
    ["wss://127.0.0.1:1/path?x", /a wss:\/\/ URI has no parameter x=/],
    ["ws://127.0.0.1:1/#a", /a ws:\/\/ URI has no user or fragment/],
    ["qemu:///system?host=a", /unix has no parameter host=/],
    ["test+unix:///default?domains=3", /unix has no parameter domains=/],
  ])("refuses an unknown part of a URI, and names it: %s", async (uri, message) => {
    await import("../../src/index.ts");
    await expect(openDriver(uri)).rejects.toMatchObject({
      code: "invalid-uri",
      message: expect.stringMatching(message),
    });
  });

  it("opens nothing with an option that does not exist, or once the signal is aborted", async () => {
    const before = opened.length;
    await expect(openDriver("test:///default", { tokn: "a secret" } as OpenOptions)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringContaining("tokn"),
    });
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(openDriver("test:///default", { signal })).rejects.toThrow("enough");
    expect(opened).toHaveLength(before);
  });
});
