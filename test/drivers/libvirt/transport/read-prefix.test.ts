import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { readPrefix } from "../../../../src/drivers/libvirt/transport/read-prefix.ts";

const never = new AbortController().signal;

/** A stream that has what the test pushes. */
function source(): Duplex {
  return new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
}

/** Takes everything up to and with the first exclamation mark. */
const shout = (bytes: Buffer) => {
  const at = bytes.indexOf("!");
  return at < 0 ? undefined : at + 1;
};

async function rest(stream: Duplex): Promise<string> {
  let text = "";
  stream.on("data", (chunk) => {
    text += chunk;
  });
  await new Promise((resolve) => stream.once("end", resolve));
  return text;
}

describe("A greeting", () => {
  it("is taken off, however it is cut, and what follows is left for who listens next", async () => {
    for (const pieces of [["hello!rest"], ["hel", "lo", "!", "rest"], [..."hello!rest"], ["hello!", "rest"]]) {
      const stream = source();
      const greeted = readPrefix(stream, shout, never);
      for (const piece of pieces) {
        stream.push(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await greeted).toBe(true);
      stream.push(" of it");
      stream.push(null);
      expect(await rest(stream)).toBe("rest of it");
    }
  });

  it("may be followed by another, in the same bytes", async () => {
    const stream = source();
    stream.push("one!two!three");
    expect(await readPrefix(stream, shout, never)).toBe(true);
    expect(await readPrefix(stream, shout, never)).toBe(true);
    stream.push(null);
    expect(await rest(stream)).toBe("three");
  });

  it("that does not come is reported by the end, by the stream's error, and by the signal", async () => {
    const ended = source();
    ended.push("hell");
    ended.push(null);
    expect(await readPrefix(ended, shout, never)).toBe(false);

    const failed = source();
    const failure = readPrefix(failed, shout, never);
    failed.destroy(new Error("broken"));
    await expect(failure).rejects.toThrow("broken");
    await expect(readPrefix(failed, shout, never)).rejects.toThrow("broken");

    const silent = source();
    const abort = new AbortController();
    const given = readPrefix(silent, shout, abort.signal);
    abort.abort(new Error("enough"));
    await expect(given).rejects.toThrow("enough");
    expect(silent.destroyed).toBe(true);
    await expect(readPrefix(source(), shout, abort.signal)).rejects.toThrow("enough");
  });

  it("that is not what it should be fails with what the taker says", async () => {
    const stream = source();
    stream.push("bye");
    const taker = () => {
      throw new Error("no greeting");
    };
    await expect(readPrefix(stream, taker, never)).rejects.toThrow("no greeting");
  });
});
