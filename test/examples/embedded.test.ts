import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { connect } from "../../src/index.ts";
import { CLOSE_CODES, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { codeOf } from "../code-of.ts";
import { inChromium } from "../lab/chromium.ts";
import { describeWith } from "../lab/requirement.ts";

/** Starts an example; gives the URL that it prints. */
async function start(name: string): Promise<string> {
  const file = fileURLToPath(new URL(`../../examples/11-embedded/${name}`, import.meta.url));
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const [line] = await once(createInterface(child.stdout), "line");
  return line;
}

const socketUrl = (url: string, path: string): string => url.replace("http:", "ws:") + path;

async function domainsAt(url: string, token?: string): Promise<number> {
  await using connection = await connect(url, token === undefined ? {} : { token });
  return (await connection.getAllDomainStats()).length;
}

describe("the examples of embedding", () => {
  it("in Node's HTTP server serve two hosts beside a page", async () => {
    const url = await start("http.mjs");
    expect(await domainsAt(socketUrl(url, "/hv1"))).toBe(2);
    expect(await domainsAt(socketUrl(url, "/hv2"))).toBe(3);
    expect(await (await fetch(url)).text()).toContain("two hosts");
    expect((await fetch(`${url}/hv1/readyz`)).status).toBe(200);
  });

  it("in Fastify serve a host beside a page", async () => {
    const url = await start("fastify.mjs");
    expect(await domainsAt(socketUrl(url, "/vm"), "secret")).toBe(4);
    expect(await codeOf(domainsAt(socketUrl(url, "/vm")))).toBe("unauthenticated");
    expect(await (await fetch(url)).text()).toContain("a host");
    expect((await fetch(`${url}/vm/healthz`)).status).toBe(200);
  });

  it("in Express show the guests of the user whose cookie it is, until the user logs out", async () => {
    const url = await start("express.mjs");
    expect(await codeOf(domainsAt(socketUrl(url, "/vm")))).toBe("unauthenticated");
    expect((await fetch(`${url}/login/eve`, { method: "POST" })).status).toBe(403);
    for (const [user, guests] of [
      ["ann", 2],
      ["ben", 1],
    ] as const) {
      const login = await fetch(`${url}/login/${user}`, { method: "POST" });
      const headers = { cookie: login.headers.get("set-cookie")!.split(";")[0]!, origin: url };
      const socket = new NodeWebSocket(socketUrl(url, "/vm"), SUBPROTOCOLS[1], { headers });
      const closed = once(socket, "close");
      const records: { params: object }[] = [];
      const ended = new Promise<void>((resolve) => {
        socket.on("message", (data: Buffer) => {
          const message = JSON.parse(data.toString());
          if (message.type === "record") records.push(message.record);
          if (message.type === "end") resolve();
        });
      });
      await once(socket, "open");
      socket.send('{"type":"hello"}');
      socket.send('{"type":"get","id":1}');
      await ended;
      expect(records).toHaveLength(guests);
      for (const { params } of records) expect(Object.keys(params).join()).toMatch(/^((state|cpu)\.[^,]*,?)+$/);
      await fetch(`${url}/logout`, { method: "POST", headers });
      expect((await closed)[0]).toBe(CLOSE_CODES["logged-out"]);
    }
  });
});

describeWith(["chromium"], "the Express example, in Chromium,", () => {
  it("shows a page the guests of the user who has logged in, because the browser sends the cookie", async () => {
    const url = await start("express.mjs");
    await inChromium(url, async (page) => {
      const guests = await page.evaluate(async (protocol) => {
        const list = async (): Promise<string> => {
          const socket = new WebSocket(`${location.origin.replace("http:", "ws:")}/vm`, protocol);
          const names: string[] = [];
          return new Promise<string>((resolve) => {
            socket.onopen = () => {
              socket.send('{"type":"hello"}');
              socket.send('{"type":"get","id":1}');
            };
            socket.onclose = ({ code }) => resolve(`closed with ${code}`);
            socket.onmessage = ({ data }) => {
              const message = JSON.parse(data);
              if (message.type === "record") names.push(message.record.domain.name);
              if (message.type === "end") resolve(names.sort().join());
            };
          });
        };
        const before = await list();
        await fetch("/login/ann", { method: "POST" });
        const ann = await list();
        await fetch("/login/ben", { method: "POST" });
        return [before, ann, await list()];
      }, SUBPROTOCOLS[1]);
      expect(guests).toEqual([`closed with ${CLOSE_CODES.unauthenticated}`, "guest-00000,guest-00001", "guest-00002"]);
    });
  });
});
