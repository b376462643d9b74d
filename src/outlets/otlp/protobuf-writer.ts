const encoder = new TextEncoder();

/** The most bytes of a length, which is a varint of at most 32 bits here. */
const MAX_VARINT_BYTES = 5;

/** Writes messages of Protocol Buffers into one buffer, which grows as needed. */
export class ProtobufWriter {
  /** The number of bytes so far. Set it to an earlier value to drop the bytes written since then. */
  length = 0;
  #bytes: Uint8Array;
  #view: DataView;

  constructor(capacity = 1_024) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /**
   * The bytes written so far, without a copy: when `length` is set back, the writer writes into the same memory again.
   */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  /**
   * Makes room for this many bytes. The methods `text`, `message` and `raw` call it themselves. Before each other
   * method, the caller must call `reserve`.
   */
  reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.bytes());
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }

  /** Writes one byte: the tag of a field whose number is below 16, or a varint below 128. */
  byte(value: number): void {
    this.#bytes[this.length++] = value;
  }

  /** Writes a varint of up to 32 bits. */
  varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.#bytes[this.length++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#bytes[this.length++] = rest;
  }

  /** Writes 64 bits of a whole number that is exact as a double. A negative number is in two's complement. */
  fixed64(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#view.setUint32(this.length, value - high * 2 ** 32, true);
    this.#view.setInt32(this.length + 4, high, true);
    this.length += 8;
  }

  /** Writes 64 bits of a whole number that may be too large to be exact as a double. */
  fixed64Big(value: bigint): void {
    this.#view.setBigUint64(this.length, BigInt.asUintN(64, value), true);
    this.length += 8;
  }

  double(value: number): void {
    this.#view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  /** Writes bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Writes a field that contains a text. */
  text(tag: number, value: string): void {
    const bytes = encoder.encode(value);
    this.message(tag, bytes);
  }

  /** Writes a field that contains a message: the bytes that another writer has written before. */
  message(tag: number, bytes: Uint8Array): void {
    this.reserve(1 + MAX_VARINT_BYTES);
    this.byte(tag);
    this.varint(bytes.length);
    this.raw(bytes);
  }
}

/** The number of bytes of a varint of up to 32 bits. */
export function varintSize(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : value < 268_435_456 ? 4 : 5;
}

/** Returns the bytes of one message, which the function `write` writes. */
export function encoded(write: (writer: ProtobufWriter) => void): Uint8Array {
  const writer = new ProtobufWriter(64);
  write(writer);
  return writer.bytes();
}

/**
 * Writes a field with a KeyValue of OpenTelemetry. In a KeyValue, `key` is field 1 and `value` is field 2. In `value`,
 * a text is field 1 and a whole number is field 3.
 */
export function attribute(writer: ProtobufWriter, tag: number, key: string, value: string | number): void {
  const anyValue = encoded((inner) => {
    if (typeof value === "string") return inner.text(0x0a, value);
    inner.byte(0x18);
    inner.varint(value);
  });
  const keyValue = encoded((inner) => {
    inner.text(0x0a, key);
    inner.message(0x12, anyValue);
  });
  writer.message(tag, keyValue);
}
