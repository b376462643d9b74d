#!/usr/bin/env python3
"""A client of the binary profile of PROTOCOL.md, with nothing but Python and msgpack (Debian: python3-msgpack).

    06-client-in-python.py sweep ws://127.0.0.1:16580
    06-client-in-python.py watch ws://127.0.0.1:16580 [--interval MS] [--count TICKS]

Prints one JSON line per record; in a watch also one per begin, sync, gap, gone and status. A watch whose connection
breaks connects again and resumes. A token is taken from VIRSTREAM_TOKEN. Exit code 1: failed, see stderr."""
import base64, contextlib, hashlib, http.client, json, math, os, random, socket, struct, sys, time, uuid
from urllib.parse import urlsplit
import msgpack

SAFE, CREDIT, MESSAGE, VALUES = 2**53 - 1, 1 << 20, 33_554_432, 2_097_152
CELLS, CHARACTERS, ROWS, SLOTS, KEYS, DOMAINS = 1_048_576, 33_554_432, 65_536, 1024, 1_048_576, 4_194_304
INT, UINT, LLONG, ULLONG, DOUBLE, BOOLEAN, STRING = range(1, 8)
RANGES = {INT: (-(2**31), 2**31 - 1), UINT: (0, 2**32 - 1), LLONG: (-SAFE, SAFE), ULLONG: (0, SAFE), BOOLEAN: (0, 1)}
LARGE = {LLONG: (-(2**63), 2**63 - 1), ULLONG: (0, 2**64 - 1)}
CLOSES = {1001: "server-shutdown", 1009: "message-too-big", 4400: "protocol-error", 4401: "unauthenticated",
          4406: "wrong-subprotocol", 4409: "protocol-error", 4500: "internal", 4503: "limit-exceeded"}
RETRYABLE = ("connection-lost", "connection-refused", "server-shutdown", "limit-exceeded")

class Failed(Exception):
    def __init__(self, code, message, retryable=None):
        super().__init__(f"{code}: {message}")
        self.code, self.retryable = code, code in RETRYABLE if retryable is None else retryable
def need(condition, message):
    if not condition:
        raise Failed("protocol-error", message)
def of(kind, value):
    need(type(value) is kind, f"not a {kind.__name__}: {value!r:.80}")
    return value
def whole(value, least=-SAFE, most=SAFE):  # an integer, which may come as a float64
    value = int(value) if type(value) is float and value.is_integer() else value
    need(type(value) is int and least <= value <= most, f"not an integer from {least} to {most}: {value!r:.80}")
    return value
def typed(kind, value):
    return float(value) if kind == DOUBLE else (bool if kind == BOOLEAN else int)(whole(value, *RANGES[kind]))

class Connection:
    """RFC 6455, as far as a client without extensions needs it; `hello` and `welcome`; schemas and blocks."""
    def __init__(self, url):
        self.schemas, self.consumed = {}, 0
        to, key = urlsplit(url), base64.b64encode(os.urandom(16)).decode()
        self.socket = socket.create_connection((to.hostname, to.port or 16580), 10)
        self.file = self.socket.makefile("rb")
        self.socket.sendall((f"GET {to.path or '/'} HTTP/1.1\r\nHost: {to.netloc}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                             "Sec-WebSocket-Protocol: virstream.v1\r\n\r\n").encode())
        status, headers = self.file.readline(8192).decode("latin-1").strip(), http.client.parse_headers(self.file)
        if status[9:12] != "101":
            codes = {"400": "wrong-subprotocol", "401": "unauthenticated", "403": "denied"}
            raise Failed(codes.get(status[9:12], "connection-refused"), f"no upgrade: {status}")
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        need([headers["sec-websocket-accept"], headers["sec-websocket-protocol"]] == [accept, "virstream.v1"], status)
    def take(self, size):
        if len(data := self.file.read(size)) < size:
            raise Failed("connection-lost", "the connection ended")
        return data
    def frame(self, opcode, payload):
        size, mask = len(payload), os.urandom(4)  # none of ours is longer than 16 bits say
        head = struct.pack(">BB", 128 + opcode, 128 + size) if size < 126 else struct.pack(">BBH", 128 + opcode, 254, size)
        self.socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
    def message(self):  # the next binary message; answers pings on the way
        message, begun = b"", False
        while True:
            first, size = self.take(2)
            final, opcode = first & 128, first & 15
            need(not first & 0x70 and size < 128, "a frame with reserved bits or a mask")
            need(opcode == (0 if begun else 2) or opcode > 7 and final and size < 126, "a frame that is not allowed here")
            if size > 125:
                size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
            need(len(message) + size <= MESSAGE, "a message beyond the limit")
            payload = self.take(size)
            if opcode == 8:
                raise Failed(CLOSES.get(int.from_bytes(payload[:2], "big"), "connection-lost"), payload[2:].decode())
            if opcode == 9:
                self.frame(10, payload)
            elif opcode < 8:
                message, begun = message + payload, True
                if final:
                    return message
    def close(self, code, reason=""):
        with contextlib.suppress(OSError):
            self.frame(8, struct.pack(">H", code) + reason.encode()[:100])
            self.socket.settimeout(1)
            while self.socket.recv(1 << 18):  # until the server has closed, too
                pass
        self.socket.close()
    def open(self):
        token = os.environ.get("VIRSTREAM_TOKEN")
        self.send(type="hello", client="client-in-python/1", **({"token": token} if token else {}))
        need((welcome := self.receive())["type"] == "welcome", "no welcome")
        self.epoch, beat = of(str, welcome["epoch"]), welcome["beatMs"]
        need(0 < beat <= 3_600_000, "a beatMs out of range")
        self.socket.settimeout(2.5 * beat / 1000)  # silence for so long is an OSError
    def send(self, **message):
        self.frame(1, json.dumps(message).encode())
    def receive(self):  # the next message; schemas are kept here
        while True:
            data = self.message()
            message = of(dict, msgpack.unpackb(data, max_array_len=VALUES, max_map_len=VALUES,
                                               ext_hook=lambda *_: need(False, "an extension type")))
            self.size, self.cells, self.characters = len(data), 0, 0  # of this message
            if of(str, message["type"]) != "schema":
                return message
            keys, types = [of(str, k) for k in message["keys"]], [whole(t, INT, STRING) for t in message["types"]]
            need(len(keys) == len(types), "a schema with other numbers of keys and types")
            self.schemas[whole(message["slot"], 0, SLOTS - 1)] = keys, types
            need(sum(len(keys) for keys, _ in self.schemas.values()) <= KEYS, "too many keys in schemas")
    def give_back(self):
        self.consumed += self.size
        if self.consumed >= CREDIT // 2:
            self.send(type="credit", id=1, bytes=self.consumed)
            self.consumed = 0
    def columns(self, slot, rows, present, widths, leasts, body):
        """The schema, the number of rows, and a list for each column, or None where it is absent."""
        schema, rows = self.schemas.get(whole(slot, 0, SLOTS - 1), ([], [])), whole(rows, 1, ROWS)
        result, mask, at = [None] * (6 + len(schema[0])), int.from_bytes(of(bytes, present), "little"), 0
        self.cells += rows * len(result)
        need(self.cells <= CELLS, "too many cells in a message")
        need(len(present) == (len(result) + 7) // 8 and mask < 1 << len(result), "present has another size")
        need(mask.bit_count() == len(of(bytes, widths)) == len(of(list, leasts)), "not a width and a least per column")
        for column, width, least in zip((c for c in range(len(result)) if mask >> c & 1), widths, leasts):
            need(column < 6 or schema[1][column - 6] != STRING, "a text key has a column")
            which = range(rows)
            if width >= 16:
                size, width = (rows + 7) // 8, width - 16
                bits, at = int.from_bytes(body[at:at + size], "little"), at + size
                need(bits < 1 << rows, "a sparse column's mask is longer than the rows")
                which = [row for row in which if bits >> row & 1]
            end = at + width * len(which)
            need(width <= 8 and end <= len(of(bytes, body)) and type(least) in (int, float), "width, least or body is wrong")
            values = ([least] * len(which) if width == 0 else
                      struct.unpack_from(f"<{len(which)}d", body, at) if width == 8 else
                      [least + int.from_bytes(body[i:i + width], "little") for i in range(at, end, width)])
            at, result[column] = end, [0] * rows
            for row, value in zip(which, values):
                result[column][row] = value
        need(at == len(body), "bytes are left over in the body")
        return schema, rows, result
    def texts(self, column, rows):
        start, end, middles = column if type(column) is list else (column, "", [""] * rows)
        need(len(middles) == rows, "a text column of another size")
        self.characters += (len(start) + len(end)) * rows + sum(len(of(str, middle)) for middle in middles)
        need(self.characters <= CHARACTERS, "too many characters in a message")
        return [start + middle + end for middle in middles]
    def full(self, block, at):  # yields the number and the record of each row of a full block
        slot, rows, uuids, present, widths, leasts, body, texts, large, statuses = block
        schema, rows, columns = self.columns(slot, rows, present, widths, leasts, body)
        columns = [column or [0] * rows for column in columns]
        names, hosts, *texts = [self.texts(column, rows) for column in texts]
        need(len(texts) == schema[1].count(STRING) and len(of(bytes, uuids)) == 16 * rows, "texts or uuids of other sizes")
        values = [texts.pop(0) if kind == STRING else [typed(kind, value) for value in column]
                  for kind, column in zip(schema[1], columns[6:])]
        for row, k, integer in large:
            least, most = LARGE[schema[1][whole(k, 0)]]
            need(least <= integer <= most and abs(integer) > SAFE, "a large value that is none")
            values[k][whole(row, 0)] = integer
        statuses = {whole(row, 0, rows - 1): of(dict, status) for row, status in statuses}
        for row in range(rows):
            number, index, id, *times = (whole(column[row]) for column in columns[:6])
            domain = {"uuid": str(uuid.UUID(bytes=uuids[16 * row:][:16])), "name": names[row], "id": id, "host": hosts[row]}
            yield number + row, {"domain": domain, **timed(at, *times), **statuses.get(row, {}), "index": index + row,
                                 "schema": schema, "key": (domain["uuid"], hosts[row]),
                                 "values": [column[row] for column in values]}
    def changed(self, block, at, records):  # applies a block of changes to the records, and prints them
        schema, rows, columns = self.columns(*block)
        need(columns[2] is None, "an id in a block of changes")
        for row in range(rows):
            number, index, _, *times = (whole(column[row]) if column else 0 for column in columns[:6])
            record = records.get(number + row)
            need(record and record["schema"] == schema, "a change of an unknown number, or of another schema")
            record.pop("error", None)
            record.update(timed(at, *times), index=whole(record["index"] + index))
            for k, (kind, column) in enumerate(zip(schema[1], columns[6:])):
                if column:
                    record["values"][k] = typed(kind, column[row] + (0 if kind == DOUBLE else record["values"][k]))
            line(record)

def timed(at, after, step, took):
    return {"status": "ok", "reason": None, "missing": [], "sampledAt": whole(at[0]) + after,
            "steadyAt": whole(at[1]) + after + step, "tookMs": took / 1000}
def show(flush=True, **what):
    print(json.dumps({k: v for k, v in what.items() if k not in ("type", "channel", "sequence")}), flush=flush)
def line(record):  # prints a record as it is in the JSON profile, without the state in words
    params = {key: str(v) if type(v) is int and abs(v) > SAFE or type(v) is float and not math.isfinite(v) else v
              for key, v in zip(record["schema"][0], record["values"])}
    show(False, **{k: v for k, v in record.items() if k not in ("schema", "values", "key")}, params=params)

class Reader:
    """A sweep, if there is no interval, or a watch. What it knows outlives its connections."""
    def __init__(self, interval, count):
        self.interval, self.count, self.failures = interval, count, 0
        self.records, self.old = {}, {}  # by number; and by key those from before the newest `begin`
        self.epoch = self.channel = self.sequence = self.tick = self.sync = self.complete = None
        self.left = 0  # rows of the snapshot that are to come
    def run(self, connection):
        if self.epoch != connection.epoch:
            self.epoch, self.channel = connection.epoch, None
        query = {"type": "watch", "intervalMs": self.interval} if self.interval else {"type": "get"}
        if self.channel is not None and self.left == 0:
            query["since"] = {"epoch": self.epoch, "channel": self.channel, "sequence": self.sequence}
        self.begun = False
        connection.send(**query, id=1, credit=CREDIT)
        while self.count != 0:
            message = connection.receive()
            kind, mine = message["type"], message.get("id") == 1
            if kind == "begin" and mine and self.interval:
                self.begin(message)
            elif kind == "records" and mine:
                self.left -= self.full(connection, message["blocks"], message["at"])
                need(not self.interval or self.left >= 0, "a snapshot with more rows than begin said")
            elif kind == "end" and mine:
                if "error" in message:
                    raise Failed(*(message["error"][member] for member in ("code", "message", "retryable")))
                return
            elif "channel" in message:
                need(self.begun and self.left == 0 and message["channel"] == self.channel, "a message of another channel")
                need(message["sequence"] == self.sequence + 1, "a sequence that does not count on")
                self.sequence += 1  # of a type that we do not know, too
                if kind == "changes":
                    self.changes(connection, message)
                elif kind == "sync":
                    self.end_tick(message, message["complete"])
                elif kind in ("status", "gap"):
                    show(event=kind, **message)
            if mine and self.left == 0:  # the end of a snapshot, or resumed
                self.end_tick(self.sync, self.complete)
                self.sync = None
            if kind in ("records", "changes"):
                connection.give_back()
    def begin(self, message):
        self.failures, first, self.begun = 0, not self.begun, True
        channel, sequence = whole(message["channel"], 0), whole(message["sequence"], 0)
        show(event="begin", resumed=of(bool, message["resumed"]), at=[channel, sequence])
        if message["resumed"]:
            return need(first and (channel, sequence) == (self.channel, self.sequence), "resumed elsewhere")
        self.old.update((record["key"], record) for record in self.records.values())
        self.records, self.left = {}, whole(message["domains"], 0, DOMAINS)
        self.sync, self.complete = message.get("sync"), of(bool, message["complete"])
        tick = whole(self.sync["tick"], 1) if self.sync else 0
        skipped = tick - self.tick - 1 if channel == self.channel else None  # None: not known
        if self.sequence is not None and (skipped is None or skipped > 0):
            show(event="gap", reason="reconnected" if first else "slow-consumer", skipped=skipped)
        if channel == self.channel and tick == self.tick:
            self.sync = None  # we have had this tick
        self.channel, self.sequence, self.tick = channel, sequence, tick - 1 if self.sync else tick
        for status in message["statuses"]:
            show(event="status", **status)
    def end_tick(self, sync, complete):
        if complete:
            for record in self.old.values():
                show(event="gone", domain=record["domain"])
            self.old = {}
        if sync:
            need(sync["tick"] == self.tick + 1, "a tick that does not count on")
            self.tick, self.count = self.tick + 1, self.count - 1
            show(event="sync", **sync)
    def full(self, connection, blocks, at):
        rows = [row for block in blocks for row in connection.full(block, at)]
        for number, record in rows:
            if self.interval:
                before = self.records.get(whole(number, 0, DOMAINS - 1), record)
                if before["key"] != record["key"]:
                    show(event="gone", domain=before["domain"])
                self.old.pop(record["key"], None)
                self.records[number] = record
            line(record)
        return len(rows)
    def changes(self, connection, message):
        for number in message["gone"]:
            need(number in self.records, "an unknown number in gone")
            show(event="gone", domain=self.records.pop(number)["domain"])
        self.full(connection, message["full"], message["at"])
        for block in message["changed"]:
            connection.changed(block, message["at"], self.records)

def main(command, url, *options):
    options = {"--interval": "1000", **dict(zip(options[::2], options[1::2]))}
    reader = Reader(int(options["--interval"]) if command == "watch" else None, int(options.get("--count", -1)))
    while True:
        connection = None
        try:
            connection = Connection(url)
            connection.open()
            reader.run(connection)
            return connection.close(1000)
        except OSError as error:
            failed = Failed("connection-lost" if connection else "connection-refused", str(error))
        except Exception as error:  # what the decoding stumbles over is malformed
            failed = error if isinstance(error, Failed) else Failed("protocol-error", f"malformed: {error!r}")
        if connection:
            connection.close(4400 if failed.code == "protocol-error" else 1000, str(failed))
        if command == "sweep" or not failed.retryable or reader.epoch is None:
            sys.exit(str(failed))
        show(event="lost", error=str(failed))
        time.sleep(min(30, 0.5 * 2**reader.failures) * random.uniform(0.5, 1))
        reader.failures = min(reader.failures + 1, 10)

main(*sys.argv[1:]) if sys.argv[1:2] in (["sweep"], ["watch"]) and len(sys.argv) % 2 else sys.exit(__doc__)
