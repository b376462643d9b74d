import { invalidMessage, XdrReader, XdrWriter } from "./xdr.ts";

/**
 * libvirt's message frame (virnetprotocol.x): a length word, a header of six words, and the procedure's arguments or
 * result in XDR. The length is that of the whole message, with the length word.
 */

/** The two RPC programs that are used. */
export const Program = { remote: 0x20008086, keepalive: 0x6b656570 } as const;
/** The only version of both programs. */
const PROGRAM_VERSION = 1;

/** The types of messages that are used (virNetMessageType). */
export const RpcMessageType = { call: 0, reply: 1, event: 2 } as const;
/** The outcome of a call (virNetMessageStatus). */
export const MessageStatus = { ok: 0, error: 1 } as const;

/** The bytes of the length word and the header, which together are the shortest possible message. */
const HEADER_BYTES = 28;
/** VIR_NET_MESSAGE_MAX, plus the length word, which that constant does not count. */
export const MESSAGE_MAX = 33_554_436;

/** The header of a message (virNetMessageHeader), without the version, which is always PROGRAM_VERSION. */
export interface Header {
  readonly program: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
}

/** Encodes a whole message. */
export function encodeMessage(
  { program, procedure, type, serial }: Pick<Header, "program" | "procedure" | "type" | "serial">,
  writePayload?: (writer: XdrWriter) => void,
): Buffer {
  const writer = new XdrWriter();
  writer.uint(0);
  writer.uint(program);
  writer.uint(PROGRAM_VERSION);
  writer.int(procedure);
  writer.int(type);
  writer.uint(serial);
  writer.int(MessageStatus.ok);
  writePayload?.(writer);
  const message = writer.take();
  message.writeUInt32BE(message.length, 0);
  return message;
}

/** The procedures of the keepalive program. */
export const Keepalive = { ping: 1, pong: 2 } as const;
const KEEPALIVE = { program: Program.keepalive, type: RpcMessageType.event, serial: 0 };
/** Asks the other side to show that it is alive. */
export const PING = encodeMessage({ ...KEEPALIVE, procedure: Keepalive.ping });
/** The answer to a ping. */
export const PONG = encodeMessage({ ...KEEPALIVE, procedure: Keepalive.pong });

/** Decodes a message's header, and returns it with a reader that is positioned at the payload. */
export function decodeMessage(bytes: Buffer): { header: Header; payload: XdrReader } {
  const payload = new XdrReader(bytes);
  const length = payload.uint();
  if (length !== bytes.length) throw invalidMessage(`its length word says ${length} of ${bytes.length} bytes`);
  const program = payload.uint();
  const version = payload.uint();
  if (version !== PROGRAM_VERSION) throw invalidMessage(`version ${version} of its program`);
  const header = {
    program,
    procedure: payload.int(),
    type: payload.int(),
    serial: payload.uint(),
    status: payload.int(),
  };
  return { header, payload };
}

/**
 * Splits a byte stream into messages, however the stream is divided into chunks. A message within one chunk is
 * delivered as a view of the chunk. A message that spans several chunks is copied once, into a buffer of the announced
 * length. This length is checked first, so a false length makes this process reserve at most 32 MiB of address space.
 */
export class MessageSplitter {
  readonly #deliver: (message: Buffer) => void;
  /** The bytes of a length word that is not complete yet. */
  readonly #word = Buffer.alloc(4);
  #message: Buffer | undefined;
  #filled = 0;

  /** @param deliver called with each message, which is a view of the chunk or a buffer of its own */
  constructor(deliver: (message: Buffer) => void) {
    this.#deliver = deliver;
  }

  /** True if the stream is in the middle of a message, so that the end of the stream would cut the message off. */
  get pending(): boolean {
    return this.#filled > 0;
  }

  /** Takes the next chunk. Throws `protocol-error` on an impossible length; the stream is unusable from then on. */
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
        this.#message = Buffer.allocUnsafeSlow(length);
      }
      const target = this.#message ?? this.#word;
      const copied = chunk.copy(target, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled < target.length) continue;
      if (this.#message === undefined) {
        this.#message = Buffer.allocUnsafeSlow(checkLength(this.#word.readUInt32BE(0)));
        this.#word.copy(this.#message, 0);
      } else {
        const message = this.#message;
        this.#message = undefined;
        this.#filled = 0;
        this.#deliver(message);
      }
    }
  }
}

function checkLength(length: number): number {
  if (length < HEADER_BYTES || length > MESSAGE_MAX) {
    throw invalidMessage(`a length of ${length} bytes, only ${HEADER_BYTES} to ${MESSAGE_MAX} are possible`);
  }
  return length;
}
