import { type AddressInfo, createServer, type Server, Socket } from "node:net";

/** A client's socket and the one to the target that belongs to it. */
interface Pair {
  readonly client: Socket;
  readonly target: Socket;
}

/** What is done with bytes and connections. */
type State = "whole" | "cut" | "swallowing";

/**
 * A network that a test breaks: stands in front of a port of 127.0.0.1 and passes every byte on, until it is told to cut
 * the connections, to swallow what is sent, or to be slow.
 */
export class TcpProxy implements AsyncDisposable {
  /** How many connections were accepted so far, also those that `cut` ended at once. */
  connections = 0;
  /** How many bytes clients sent that were passed on. */
  bytesUp = 0;
  /** How many bytes the target sent that were passed on. */
  bytesDown = 0;
  readonly #targetPort: number;
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #late = new Set<NodeJS.Timeout>();
  #state: State = "whole";
  #delayMs = 0;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** Listens on a free port in front of another one. */
  static async start(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  /** Where clients connect to. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Where WebSocket clients connect to. */
  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** How many connections are open. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Resets all connections, and every new one until `restore`. */
  cut(): void {
    this.#state = "cut";
    for (const pair of this.#pairs) destroy(pair);
  }

  /** From now on drops every byte, either way, of old connections and new ones; no end is told to anybody. */
  swallow(): void {
    this.#state = "swallowing";
  }

  /** Passes bytes on again, of new connections: the old ones are reset, as their streams have holes. */
  restore(): void {
    for (const pair of this.#pairs) destroy(pair);
    this.#state = "whole";
  }

  /** Passes each byte on so much later from now on, in ms. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    for (const timer of this.#late) clearTimeout(timer);
    await closed;
  }

  #accept(client: Socket): void {
    this.connections++;
    if (this.#state === "cut") {
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const pair: Pair = { client, target: new Socket() };
    this.#pairs.add(pair);
    this.#pass(pair, client, pair.target, (bytes) => {
      this.bytesUp += bytes;
    });
    this.#pass(pair, pair.target, client, (bytes) => {
      this.bytesDown += bytes;
    });
    pair.target.connect(this.#targetPort, "127.0.0.1");
  }

  #pass(pair: Pair, from: Socket, to: Socket, count: (bytes: number) => void): void {
    const line = new DelayLine(this.#late);
    from.on("error", () => {});
    from.on("data", (chunk: Buffer) => {
      if (this.#state === "swallowing") return;
      count(chunk.length);
      line.after(this.#delayMs, () => {
        if (to.destroyed || to.write(chunk)) return;
        from.pause();
        to.once("drain", () => from.resume());
      });
    });
    from.on("close", (broken) => {
      if (to.destroyed) this.#pairs.delete(pair);
      // One that swallows tells nobody: the other end goes on as if nothing had happened.
      if (this.#state === "swallowing") return;
      line.after(this.#delayMs, () => {
        if (broken) destroy(pair);
        else to.end();
      });
    });
  }
}

/** Does things in their order, each so much later, also while the delay is being changed. */
class DelayLine {
  readonly #timers: Set<NodeJS.Timeout>;
  #waiting: (() => void)[] = [];

  /** @param timers where its timers are kept, for who ends them */
  constructor(timers: Set<NodeJS.Timeout>) {
    this.#timers = timers;
  }

  after(ms: number, action: () => void): void {
    if (ms === 0 && this.#waiting.length === 0) {
      action();
      return;
    }
    this.#waiting.push(action);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#waiting.shift()?.();
    }, ms);
    this.#timers.add(timer);
  }
}

function destroy({ client, target }: Pair): void {
  // Node cannot reset a socket whose end is being sent, and would never close it.
  if (client.writableEnded) client.destroy();
  else client.resetAndDestroy();
  target.destroy();
}
