import { runCommand } from "./command.ts";

/** For addresses that nobody else has: the networks that are set aside for measurements (RFC 2544), a small one each. */
let networks = 0;

/**
 * A network of its own, with one link to ours that can be taken down. A link that is down tells nobody: what was sent is
 * lost, and sent again by TCP, as with a cable that was pulled. Needs root, and leaves nothing behind.
 */
export class NetworkNamespace implements AsyncDisposable {
  readonly #name: string;
  readonly #link: string;
  readonly #network: string;

  private constructor(number: number) {
    this.#name = `virstream-${process.pid}-${number}`;
    // An interface's name has at most 15 characters.
    this.#link = `vs${process.pid.toString(36)}${number}`;
    this.#network = `198.${18 + (number % 2)}.${process.pid % 256}.${((number >> 1) % 64) * 4}`;
  }

  static async create(): Promise<NetworkNamespace> {
    const namespace = new NetworkNamespace(networks++);
    const { address } = namespace;
    const [name, link] = [namespace.#name, namespace.#link];
    await ip(`netns add ${name}`);
    try {
      await ip(`link add ${link} type veth peer name inner netns ${name}`);
      await ip(`address add ${namespace.#host(1)}/30 dev ${link}`);
      await ip(`link set ${link} up`);
      await ip(`-netns ${name} address add ${address}/30 dev inner`);
      await namespace.up();
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
    return namespace;
  }

  /** Where a program within can be reached. */
  get address(): string {
    return this.#host(2);
  }

  /** What runs a program within. */
  get runBy(): readonly string[] {
    return ["ip", "netns", "exec", this.#name];
  }

  /** Takes the link down, at its far end. */
  async down(): Promise<void> {
    await ip(`-netns ${this.#name} link set inner down`);
  }

  async up(): Promise<void> {
    await ip(`-netns ${this.#name} link set inner up`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The link goes with its other end.
    await ip(`netns delete ${this.#name}`);
  }

  #host(number: number): string {
    const [a, b, c, d] = this.#network.split(".");
    return `${a}.${b}.${c}.${Number(d) + number}`;
  }
}

async function ip(command: string): Promise<void> {
  const { code, stderr } = await runCommand("ip", command.split(" "));
  if (code !== 0) throw new Error(`ip ${command}: ${stderr.trim()}`);
}
