import { malformed, XdrReader, XdrWriter } from "./xdr.ts";

/**
 * libvirt's message frame (virnetprotocol.x): a length word that counts itself, a header of six words, then the XDR of
 * the procedure.
 */

/** The programs that are spoken here, with their only version. */
export const Program = { remote: 0x20008086, keepalive: 0x6b656570 } as const;
/** The version of both programs. */
export const PROGRAM_VERSION = 1;

/** The types of messages that occur here (virNetMessageType). */
export const MessageType = { call: 0, reply: 1, event: 2 } as const;
/** How a call ended (virNetMessageStatus). */
export const MessageStatus = { ok: 0, error: 1 } as const;

/** Length word and header. No message is shorter. */
export const HEADER_BYTES = 28;
/** VIR_NET_MESSAGE_MAX and the length word, which it does not count. */
export const MESSAGE_MAX = 33_554_436;

/** What stands before every message's payload (virNetMessageHeader). */
export interface Header {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
}

/** A whole message as bytes. */
export function encodeMessage(header: Header, writePayload?: (writer: XdrWriter) => void): Buffer {
  const writer = new XdrWriter();
  writer.uint(0);
  writer.uint(header.program);
  writer.uint(header.version);
  writer.int(header.procedure);
  writer.int(header.type);
  writer.uint(header.serial);
  writer.int(header.status);
  writePayload?.(writer);
  writer.patchUint(0, writer.length);
  return writer.take();
}

/** The procedures of the keepalive program. */
export const Keepalive = { ping: 1, pong: 2 } as const;
/** Asks the other side whether it is there. */
export const PING = keepalive(Keepalive.ping);
/** The answer to that. */
export const PONG = keepalive(Keepalive.pong);

function keepalive(procedure: number): Buffer {
  return encodeMessage({
    program: Program.keepalive,
    version: PROGRAM_VERSION,
    procedure,
    type: MessageType.event,
    serial: 0,
    status: MessageStatus.ok,
  });
}

/** A message's header, and a reader that stands at its payload. */
export function decodeMessage(bytes: Buffer): { header: Header; payload: XdrReader } {
  const payload = new XdrReader(bytes);
  const length = payload.uint();
  if (length !== bytes.length) throw malformed(`its length word says ${length} of ${bytes.length} bytes`);
  const header = {
    program: payload.uint(),
    version: payload.uint(),
    procedure: payload.int(),
    type: payload.int(),
    serial: payload.uint(),
    status: payload.int(),
  };
  return { header, payload };
}

/**
 * Makes whole messages of a byte stream, however it was cut up. A message that lies within one chunk is handed out as a
 * view of it; of one that spans several, each byte is copied once, into a buffer of the announced length. That length has
 * been checked by then, so a daemon that lies can make us reserve 32 MiB of address space, and no more.
 */
export class MessageSplitter {
  readonly #deliver: (message: Buffer) => void;
  /** The first bytes of a message whose length word is not complete yet. */
  readonly #word = Buffer.alloc(4);
  #message: Buffer | undefined;
  #filled = 0;

  /** @param deliver called with each message; valid during the call only if the chunks are reused */
  constructor(deliver: (message: Buffer) => void) {
    this.#deliver = deliver;
  }

  /** Whether the stream stands within a message: to end here is to break off. */
  get pending(): boolean {
    return this.#filled > 0;
  }

  /** Takes the next bytes. Throws `protocol-error` on an impossible length; the stream is then unusable. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#filled === 0 && chunk.length - at >= 4) {
        const length = checkLength(chunk.readUInt32BE(at));
        if (chunk.length - at >= length) {
          this.#deliver(chunk.subarray(at, at + length));
          at += length;
          continue;
        }
        this.#begin(length);
      }
      const target = this.#message ?? this.#word;
      const copied = chunk.copy(target, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled < target.length) continue;
      if (this.#message === undefined) {
        this.#begin(checkLength(this.#word.readUInt32BE(0)));
        this.#word.copy(this.#message!, 0);
      } else {
        const message = this.#message;
        this.#message = undefined;
        this.#filled = 0;
        this.#deliver(message);
      }
    }
  }

  #begin(length: number): void {
    this.#message = Buffer.allocUnsafeSlow(length);
  }
}

function checkLength(length: number): number {
  if (length < HEADER_BYTES || length > MESSAGE_MAX) {
    throw malformed(`a length of ${length} bytes, only ${HEADER_BYTES} to ${MESSAGE_MAX} are possible`);
  }
  return length;
}
