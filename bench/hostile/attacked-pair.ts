import { type Certificates, makeCertificates, PACKAGE_URL } from "../../test/hostile/attacked-servers.ts";
import type { Target } from "../../test/hostile/inputs/input.ts";
import type { AttackedCalls } from "../../test/hostile/server-process.ts";
import { BenchProcess } from "../process.ts";
import type { HostileSubscriberCalls } from "./subscriber-process.ts";

/** The process of the servers that are attacked, with 100 domains, and the process of their subscribers. */
export class AttackedPair implements AsyncDisposable {
  readonly server: BenchProcess<AttackedCalls>;
  readonly subscriber: BenchProcess<HostileSubscriberCalls>;
  readonly target: Target;

  private constructor(
    server: BenchProcess<AttackedCalls>,
    subscriber: BenchProcess<HostileSubscriberCalls>,
    target: Target,
  ) {
    this.server = server;
    this.subscriber = subscriber;
    this.target = target;
  }

  /** @param overTls how many subscribers use TLS; as many others do not. 0: one subscriber, without TLS */
  static async start(intervalMs: number, overTls = 0): Promise<AttackedPair> {
    const certificates: Certificates = await makeCertificates();
    const server = await BenchProcess.start<AttackedCalls>("../test/hostile/server-process.ts", ["--expose-gc"]);
    const subscriber = await BenchProcess.start<HostileSubscriberCalls>("hostile/subscriber-process.ts");
    const { server: tls, ca } = certificates;
    const uri = "test:///default?domains=100";
    const ports = await server.call("listen", { uri, tls, clientCa: ca, packageUrl: PACKAGE_URL });
    const plain = `ws://127.0.0.1:${ports.guarded}`;
    const urls = Array.from({ length: overTls }, () => [plain, `wss://127.0.0.1:${ports.tls}`]).flat();
    await subscriber.call("watch", { urls: overTls === 0 ? [plain] : urls, ca, intervalMs });
    return new AttackedPair(server, subscriber, { ports, certificates });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.subscriber[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}
