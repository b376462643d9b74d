import { once } from "node:events";
import type { AddressInfo } from "node:net";
import express from "express";
import { afterAll, describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import { publish } from "../../src/outlets/nats/publisher.ts";
import { createHandler } from "../../src/server/handler.ts";
import { serve } from "../../src/server/server.ts";
import { inChromium } from "../lab/chromium.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { NatsServer } from "../lab/nats-server.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { until } from "../until.ts";
import { obligations, type Subject, WATCH } from "./conformance/obligations.ts";
import { type Outcome, servePage } from "./conformance/page-server.ts";

async function simulated(open: (uri: string) => Promise<Connection> = connect): Promise<Subject> {
  const connection = await open("test:///default?domains=40&shutoff=3&seed=7&freeze=5");
  const domains = await connection.listDomains();
  const inactive = await connection.listDomains({ filter: ["inactive"] });
  const shutOff = inactive.map((domain) => domain.name);
  return {
    connection,
    names: domains.map((domain) => domain.name),
    running: domains.map((domain) => domain.name).filter((name) => !shutOff.includes(name)),
    shutOff,
    unsupported: 2 ** 20,
    freeze: () => ({ name: domains[5]!.name, thaw: () => {} }),
    close: () => connection.close(),
  };
}

let lab: Lab | undefined;

async function libvirt(): Promise<Subject> {
  lab ??= await standardLab();
  const { guests, running, shutOff, libvirtd } = lab;
  const connection = await connect(libvirtd.uri);
  return {
    connection,
    names: guests.map((guest) => guest.name),
    running: guests.filter((guest) => guest !== shutOff).map((guest) => guest.name),
    shutOff: [shutOff.name],
    unsupported: 2 ** 20,
    freeze: () => {
      running.freeze();
      return { name: running.name, thaw: () => running.thaw() };
    },
    close: () => connection.close(),
  };
}

/** The same host, seen through a server. */
async function remote(local: () => Promise<Subject>): Promise<Subject> {
  const subject = await local();
  const server = await serve(subject.connection, { port: 0, limits: { minIntervalMs: WATCH.intervalMs } });
  const connection = await connect(server.url);
  return {
    ...subject,
    connection,
    close: async () => {
      await connection.close();
      await server.close();
      await subject.close();
    },
  };
}

/** The same host, seen through an Express application. */
async function inExpress(local: () => Promise<Subject>): Promise<Subject> {
  const subject = await local();
  const limits = { minIntervalMs: WATCH.intervalMs };
  const handler = createHandler(subject.connection, { prefix: "/vm", allowAnyone: true, limits });
  const http = express().use(handler.request).listen(0, "127.0.0.1").on("upgrade", handler.upgrade);
  await once(http, "listening");
  const connection = await connect(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/vm`);
  return {
    ...subject,
    connection,
    close: async () => {
      await connection.close();
      await handler.close();
      http.close();
      await subject.close();
    },
  };
}

/** The same host, published to NATS. */
async function published(): Promise<Subject> {
  const subject = await simulated((uri) => connect(uri.replace("&freeze=5", "")));
  const nats = await NatsServer.start();
  const publisher = await publish(subject.connection, { url: nats.url, intervalMs: WATCH.intervalMs });
  await until(() => publisher.figures.saved > 0);
  const connection = await connect(nats.url);
  return {
    ...subject,
    connection,
    close: async () => {
      await connection.close();
      await publisher.close();
      await nats[Symbol.asyncDispose]();
      await subject.close();
    },
  };
}

describe("the embedded host", () => obligations(() => simulated()));

describe("the embedded host as one of several", () => obligations(() => simulated((uri) => connectAll([uri]))));

describe("the embedded host behind a server", () => obligations(() => remote(() => simulated())));

describe("the embedded host behind an Express application", () => obligations(() => inExpress(() => simulated())));

describeWith(["nats-server"], "behind NATS", () => {
  describe("the embedded host", () => obligations(published, false));
});

describeWith(labRequirements, "real QEMU guests", () => {
  afterAll(async () => {
    await lab?.stop();
  });

  describe("behind libvirtd", () => obligations(libvirt));

  describe("behind libvirtd behind a server", () => obligations(() => remote(libvirt)));
});

describeWith(["chromium"], "in Chromium, under a strict policy, the embedded host behind a server", () => {
  it.each(["page", "worker"])("meets the same obligations in a %s", async (place) => {
    const { close, connection, ...expected } = await simulated();
    await using web = await servePage();
    const limits = { minIntervalMs: WATCH.intervalMs };
    const server = await serve(connection, { port: 0, limits, origins: [web.url] });
    const frozen = expected.freeze().name;
    let outcomes: Outcome[] = [];
    await inChromium(web.url, async (page) => {
      const subject = JSON.stringify({ ...expected, frozen, url: server.url });
      outcomes = await page.evaluate(`conform(${JSON.stringify(place)}, ${subject})`);
    });
    expect(outcomes.filter(({ error }) => error !== undefined)).toEqual([]);
    expect(outcomes.length).toBeGreaterThan(20);
    await server.close();
    await close();
  });
});
