import type { Socket } from "node:net";
import {
  domain,
  FakeDaemon,
  frame,
  type Request,
  RUNNING,
  statsReply,
  text,
  uuidOf,
  words,
} from "./rpc/fake-daemon.ts";

const OK = 0;
const OCCUPIED = 2;
const MONITOR_FREE = 0x151;

/** A fake daemon's running guests, which can all be frozen: a call that needs a monitor is then answered at the thaw. */
export class FrozenGuests implements AsyncDisposable {
  readonly daemon: FakeDaemon;
  /** Whether calls hang from now on. */
  frozen = true;
  /** The state, and its details, of each monitor in which a call hangs. */
  busyState = [OCCUPIED, 0];
  /** Whether the daemon tells of changes, to those who ask it to. */
  tells = false;
  /** The domains whose monitors were asked, in that order. */
  readonly asked: string[] = [];
  /** The most calls unanswered at a time: in all, and on one connection. */
  most = { all: 0, connection: 0 };
  readonly #count: number;
  #stuck: { uuid: string; request: Request; socket: Socket }[] = [];

  private constructor(daemon: FakeDaemon, count: number) {
    this.daemon = daemon;
    this.#count = count;
    daemon.answer = (request, socket) => this.#answer(request, socket);
  }

  static async start(count: number): Promise<FrozenGuests> {
    return new FrozenGuests(await FakeDaemon.start(), count);
  }

  /** How many calls the daemon works on: those of connections that have ended are among them. */
  get unanswered(): number {
    return this.#stuck.length;
  }

  /** Something has happened to a domain: every connection hears of it. */
  tell(type: number, number: number, detail = 0): void {
    const event = Buffer.concat([words(1), this.#domain(number), words(type, detail)]);
    // libvirtd gives events the serial 1.
    for (const socket of this.daemon.sockets) if (!socket.destroyed) socket.write(frame(318, 1, event, { type: 2 }));
  }

  /** Every call that hangs is answered now, where somebody still listens. */
  thaw(): void {
    this.frozen = false;
    for (const { uuid, request, socket } of this.#stuck.splice(0)) {
      if (!socket.destroyed) this.daemon.reply(socket, request, { ok: this.#stats([uuid]) });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
  }

  #answer(request: Request, socket: Socket) {
    const { procedure, payload } = request;
    switch (procedure) {
      case 273: {
        const domains = Array.from({ length: this.#count }, (_, i) => this.#domain(i));
        return { ok: Buffer.concat([words(this.#count), ...domains, words(this.#count)]) };
      }
      case 51:
        return { ok: words(this.#count) };
      case 25:
        return { ok: words(0) };
      case 316:
        return this.tells ? { ok: words(1) } : "default";
      case 229: {
        const name = payload.readUInt32BE(0);
        const busy = this.#stuck.some(({ uuid }) => uuid === uuidAt(payload, 4 + name + ((4 - (name % 4)) % 4)));
        return { ok: busy ? words(...this.busyState, 0, 60_000) : words(OK, 0, 0, 0) };
      }
      case 344: {
        const uuids = Array.from({ length: payload.readUInt32BE(0) }, (_, i) => uuidAt(payload, 4 + i * 24 + 4));
        const groups = payload.readUInt32BE(payload.length - 8);
        const monitor = groups === 0 || (groups & ~MONITOR_FREE) !== 0;
        if (monitor) this.asked.push(...uuids);
        if (!monitor || !this.frozen) return { ok: this.#stats(uuids) };
        this.#stuck.push({ uuid: uuids[0]!, request, socket });
        const here = this.#stuck.filter((call) => call.socket === socket).length;
        this.most = { all: Math.max(this.most.all, this.unanswered), connection: Math.max(this.most.connection, here) };
        return undefined;
      }
      default:
        return "default";
    }
  }

  #domain(number: number): Buffer {
    return domain(`vm${number}`, uuidOf(number), number + 1);
  }

  #stats(uuids: readonly string[]): Buffer {
    // As a whole answer has it: what only the monitor knows is there.
    const rss = Buffer.concat([text("balloon.rss"), words(4, 0, 1)]);
    const records = uuids.map((uuid) => ({ domain: this.#domain(Number(uuid.slice(-12))), params: [RUNNING, rss] }));
    return statsReply(...records);
  }
}

function uuidAt(payload: Buffer, offset: number): string {
  const hex = payload.toString("hex", offset, offset + 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
