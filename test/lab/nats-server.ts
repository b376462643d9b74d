import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { accepts, freePort } from "./port.ts";
import { findProgram } from "./requirement.ts";

/** How to start a nats-server. */
export interface NatsServerOptions {
  /** Lines of its configuration besides its address and JetStream. */
  readonly configuration?: string;
  /** False: without JetStream. */
  readonly jetstream?: boolean;
}

/** A private nats-server on 127.0.0.1, which a test kills and starts again. It ends with this process. */
export class NatsServer implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
  }

  static async start(options: NatsServerOptions = {}): Promise<NatsServer> {
    const server = await NatsServer.prepare(await freePort(), options);
    await server.restart();
    return server;
  }

  /** A cluster of three on loopback, whose members have the data of JetStream together. */
  static async cluster(): Promise<NatsServer[]> {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const routePorts = await Promise.all([freePort(), freePort(), freePort()]);
    const routes = routePorts.map((port) => `nats://127.0.0.1:${port}`).join(", ");
    const servers = await Promise.all(
      ports.map((port, i) =>
        NatsServer.prepare(port, {
          configuration: `server_name: n${i}\ncluster { name: lab, listen: 127.0.0.1:${routePorts[i]}, routes: [${routes}] }`,
        }),
      ),
    );
    await Promise.all(servers.map((server) => server.restart()));
    return servers;
  }

  private static async prepare(
    port: number,
    { configuration = "", jetstream = true }: NatsServerOptions,
  ): Promise<NatsServer> {
    const folder = await mkdtemp(join(tmpdir(), "virstream-nats-"));
    const lines = [`listen: 127.0.0.1:${port}`, configuration];
    if (jetstream) lines.push(`jetstream { store_dir: ${JSON.stringify(folder)} }`);
    await writeFile(join(folder, "nats.conf"), `${lines.join("\n")}\n`);
    return new NatsServer(folder, port);
  }

  /** Its address, without credentials. */
  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Starts it, with the data that it had when it was killed. */
  async restart(): Promise<void> {
    const program = findProgram("nats-server") ?? "nats-server";
    const command = ["--pdeathsig", "KILL", program, "-c", join(this.#folder, "nats.conf")];
    const child = spawn("setpriv", command, { stdio: ["ignore", "ignore", "pipe"], detached: true });
    this.#child = child;
    let log = "";
    child.stderr!.on("data", (bytes: Buffer) => {
      log = (log + bytes).slice(-10_000);
    });
    await once(child, "spawn");
    while (!(await accepts(this.port))) {
      if (child.exitCode !== null) throw new Error(`nats-server ended: ${log}`);
      await sleep(20);
    }
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    child.stderr!.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
