import { VirstreamError } from "../model/error.ts";
import type { WireMessage, WireValue, WireWriter } from "./encoding.ts";
import { JsonWriter } from "./json.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";
import { cutBytes, cutText } from "./pieces.ts";
import { LIMITS, MessageType, type Subprotocol } from "./protocol.ts";
import { sizeOf } from "./text.ts";

/** A frame is sent once it passes 64 KiB, so that this much rarely has to grow. */
const FRAME_CAPACITY = 72 * 1024;
/** What most other messages fit. */
const MESSAGE_CAPACITY = 512;

/** Makes messages in the encoding of a subprotocol, cut into pieces where they are too large. */
export class MessageBuilder {
  readonly #writer: (capacity: number) => WireWriter<WireMessage>;

  constructor(subprotocol: Subprotocol) {
    this.#writer = subprotocol === "virstream.v1" ? (capacity) => new MsgpackWriter(capacity) : () => new JsonWriter();
  }

  /** A writer for a frame of rows. */
  frameWriter(): WireWriter<WireMessage> {
    return this.#writer(FRAME_CAPACITY);
  }

  /** A message as a whole. */
  message(value: WireValue): WireMessage[] {
    const writer = this.#writer(MESSAGE_CAPACITY);
    writer.value(value);
    return this.cut(writer.take());
  }

  /**
   * A message as it may be sent: itself, or its pieces.
   *
   * @throws VirstreamError `message-too-big`
   */
  cut(message: WireMessage): WireMessage[] {
    const size = sizeOf(message);
    if (size <= LIMITS.message) return [message];
    if (size > LIMITS.joinedMessage) {
      throw new VirstreamError(
        "message-too-big",
        `a record of ${size} bytes is more than the protocol carries; ask for fewer groups`,
      );
    }
    const contents = typeof message === "string" ? cutText(message) : cutBytes(message);
    return contents.map((content, i) => {
      const writer = this.#writer(MESSAGE_CAPACITY);
      writer.value([MessageType.piece, i === contents.length - 1, content]);
      return writer.take();
    });
  }
}
