#!/usr/bin/env python3
"""A client of the binary profile of PROTOCOL.md, with Python's library and msgpack (Debian: python3-msgpack).

    06-client-in-python.py ws://127.0.0.1:16580               one sweep
    06-client-in-python.py ws://127.0.0.1:16580 1000 [5]      a watch: a sweep every 1000 ms [5 times]

It prints one JSON object per line: each record, and in a watch also begin, sync, gap, status and gone. A watch whose
connection is lost connects again and resumes. Set VIRSTREAM_TOKEN to the server's token, if it wants one."""
import base64, contextlib, io, json, math, os, random, signal, socket, struct, sys, time, urllib.parse, uuid
import msgpack

MESSAGE, VALUES, DEPTH, SLOTS, KEYS, ROWS = 33_554_432, 2_097_152, 8, 1024, 67_108_864, 65_536  # PROTOCOL.md, "Limits"
CELLS, CHARACTERS, DOMAINS, SAFE = 1_048_576, 33_554_432, 4_194_304, 2**53 - 1
INT, UINT, LLONG, ULLONG, DOUBLE, BOOLEAN, STRING = range(1, 8)
RANGES = {INT: (-(2**31), 2**31 - 1), UINT: (0, 2**32 - 1), LLONG: (-SAFE, SAFE), ULLONG: (0, SAFE), BOOLEAN: (0, 1)}
KINDS = (type(None), bool, int, float, str, bytes, list, dict)
LARGE = {LLONG: (-(2**63), 2**63 - 1), ULLONG: (0, 2**64 - 1)}
CODES = {400: "wrong-subprotocol", 401: "unauthenticated", 403: "denied",  # of HTTP; the others close a WebSocket
         1001: "server-shutdown", 1009: "message-too-big", 4400: "protocol-error", 4401: "unauthenticated",
         4406: "wrong-subprotocol", 4409: "protocol-error", 4500: "internal", 4503: "limit-exceeded"}
RETRYABLE = ("connection-refused", "connection-lost", "server-shutdown", "limit-exceeded", "slow-consumer")

class Failed(Exception): pass  # its arguments: one of PROTOCOL.md's error codes, and a message

def need(condition, otherwise):
    if not condition:
        raise Failed("protocol-error", otherwise)
def of(kind, value):
    need(type(value) is kind, f"not a {kind.__name__}: {value!r:.80}")
    return value
def whole(value, least=-SAFE, most=SAFE):  # an integer, which may come as a float64
    value = int(value) if type(value) is float and value.is_integer() else value
    need(type(value) is int and least <= value <= most, f"not an integer from {least} to {most}: {value!r:.80}")
    return value
def typed(kind, number):  # the value of a parameter from what its column has
    return float(number) if kind == DOUBLE else (bool if kind == BOOLEAN else int)(whole(number, *RANGES[kind]))
def count(value, depth=1):  # how many values a message has; they must be of the kinds that the protocol uses
    items = [*value, *value.values()] if type(value) is dict else value if type(value) is list else []
    need(type(value) in KINDS and (depth <= DEPTH or not items), "a value that is not allowed, or nested too deep")
    return 1 + sum(count(item, depth + 1) for item in items)

class Connection:
    """A WebSocket (RFC 6455, only what is needed here) with the schemas that its server defined."""
    def __init__(self, url):
        to, key = urllib.parse.urlsplit(url), base64.b64encode(os.urandom(16)).decode()
        self.socket = socket.create_connection((to.hostname, to.port or 16580), timeout=10)
        self.file, self.schemas = self.socket.makefile("rb"), {}  # a schema is a list of pairs: key and type
        self.socket.sendall((f"GET {to.path or '/'} HTTP/1.1\r\nHost: {to.netloc}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                             "Sec-WebSocket-Protocol: virstream.v1\r\n\r\n").encode())
        status = self.file.readline(8192).decode("latin-1").strip()
        if status[9:12] != "101":
            raise Failed(CODES.get(int(status[9:12] or 0), "connection-refused"), f"no upgrade: {status}")
        while self.file.readline(8192).strip(): pass  # headers, up to an empty line
    def hello(self):
        token = os.environ.get("VIRSTREAM_TOKEN")
        self.send(type="hello", client="client-in-python/1", **({"token": token} if token else {}))
        welcome = self.receive()
        need(welcome["type"] == "welcome" and 0 < welcome["beatMs"] <= 3_600_000, "no welcome")
        self.epoch = of(str, welcome["epoch"])
        self.socket.settimeout(2.5 * welcome["beatMs"] / 1000)  # silence for longer is an OSError

    def frame(self, opcode, payload):
        size, mask = len(payload), os.urandom(4)
        sizes = struct.pack(">B", 128 + size) if size < 126 else struct.pack(">BH", 128 + 126, size)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(bytes([128 + opcode]) + sizes + mask + masked)
    def send(self, **message): self.frame(1, json.dumps(message).encode())
    def read(self, size):
        if len(data := self.file.read(size)) < size: raise ConnectionError("the connection ended")
        return data

    def receive(self):  # the next message; answers pings on the way
        data, last = b"", False
        while not last:
            first, size = self.read(2)
            size = size if size < 126 else int.from_bytes(self.read(2 if size == 126 else 8), "big")
            need(len(data) + size <= MESSAGE, "a message beyond the limit")
            opcode, payload = first & 15, self.read(size)
            if opcode == 8:  # close
                raise Failed(CODES.get(int.from_bytes(payload[:2], "big"), "connection-lost"), payload[2:].decode())
            elif opcode == 9:  # ping
                self.frame(10, payload)
            elif opcode < 8:  # a message, or a part of one
                data, last = data + payload, first & 128
        message = of(dict, msgpack.unpackb(data, max_array_len=VALUES, max_map_len=VALUES))
        need(count(message) <= VALUES and type(message["type"]) is str, "too many values, or no type")
        self.cells = self.characters = 0  # of this message
        return message

    def answers(self, **query):  # sends a query, and yields the messages that come, up to its `end`
        self.send(**query, id=1)  # without credit: TCP slows the server down when we are slow
        while True:
            message = self.receive()
            need(message["type"] != "welcome" and message.get("id", 1) == 1, "a second welcome, or an unused id")
            if message["type"] == "schema":
                pairs = zip(message["keys"], message["types"], strict=True)
                schema = [(of(str, key), whole(kind, INT, STRING)) for key, kind in pairs]
                self.schemas[whole(message["slot"], 0, SLOTS - 1)] = schema
                need(sum(32 + len(key) for keys in self.schemas.values() for key, _ in keys) <= KEYS, "too many keys in schemas")
            elif message["type"] == "end":
                if "error" not in message: return
                raise Failed(message["error"]["code"], message["error"]["message"])
            else:
                yield message

    def close(self, code, reason=""):
        with contextlib.suppress(OSError):
            self.frame(8, struct.pack(">H", code) + reason.encode()[:100])
            self.socket.settimeout(1)
            self.file.read()  # until the server has closed, too
        self.socket.close()

    def columns(self, slot, rows, present, widths, leasts, body):  # also the schema, and the number of rows
        schema, rows = self.schemas.get(whole(slot, 0, SLOTS - 1), []), whole(rows, 1, ROWS)
        columns = [None] * (6 + len(schema))  # None: absent
        self.cells += rows * len(columns)
        need(self.cells <= CELLS, "too many cells in a message")
        flags, body = bits(of(bytes, present)), io.BytesIO(body)
        need(0 <= len(flags) - len(columns) < 8 and not any(flags[len(columns):]), "present does not fit the schema")
        there = (column for column, flag in enumerate(flags) if flag)
        for column, width, least in zip(there, of(bytes, widths), leasts, strict=True):
            need(column < 6 or schema[column - 6][1] != STRING, "a text key has a column")
            columns[column] = read_column(body, rows, width, least)
        need(not body.read(), "bytes are left over in the body")
        return schema, rows, columns

    def texts(self, column, rows):
        start, end, middles = column if type(column) is list else (column, "", [""] * rows)
        need(len(middles) == rows, "a text column of another size")
        self.characters += (len(start) + len(end)) * rows + sum(len(of(str, middle)) for middle in middles)
        need(self.characters <= CHARACTERS, "too many characters in a message")
        return [start + middle + end for middle in middles]

    def full(self, block, at):  # yields of each row: number, (key, schema, record)
        slot, rows, uuids, present, widths, leasts, body, texts, large, statuses = block
        schema, rows, columns = self.columns(slot, rows, present, widths, leasts, body)
        columns = [column or [0] * rows for column in columns]
        names, hosts, *texts = [self.texts(column, rows) for column in texts]
        need(len(of(bytes, uuids)) == 16 * rows and len(texts) == [kind for _, kind in schema].count(STRING), "misfits")
        values = [texts.pop(0) if kind == STRING else [typed(kind, number) for number in column]
                  for (_, kind), column in zip(schema, columns[6:])]
        for row, k, integer in large:
            least, most = LARGE[schema[whole(k, 0)][1]]
            need(type(integer) is int and least <= integer <= most and abs(integer) > SAFE, "not a large integer")
            values[k][whole(row, 0)] = integer
        statuses = {whole(row, 0, rows - 1): of(dict, status) for row, status in statuses}
        need(all(each["status"] != "ok" for each in statuses.values()), "a row that is ok is among the others")
        for row in range(rows):
            number, index, id, *when = [whole(column[row]) for column in columns[:6]]
            uid = str(uuid.UUID(bytes=uuids[16 * row:16 * row + 16]))
            domain = {"uuid": uid, "name": names[row], "id": id, "host": hosts[row]}
            record = {"domain": domain, "status": "ok", "reason": None, "missing": [], **statuses.get(row, {})}
            params = {key: column[row] for (key, _), column in zip(schema, values)}
            record.update(times(at, *when), index=index + row, params=params)
            yield number + row, ((uid, hosts[row]), schema, record)

    def changed(self, block, at, known):  # changes the known records, and yields those
        schema, rows, columns = self.columns(*block)
        need(columns[2] is None, "an id in a block of changes")
        for row in range(rows):
            number, index, _, *when = [whole(column[row]) if column else 0 for column in columns[:6]]
            _, schema_before, record = known[number + row]
            need(schema_before == schema, "changes of a record of another schema")
            params = record["params"]
            for (key, kind), column in zip(schema, columns[6:]):
                if column:  # a double comes as it is now, all else as a difference
                    params[key] = typed(kind, column[row] if kind == DOUBLE else params[key] + column[row])
            record.pop("error", None)
            record.update(times(at, *when), status="ok", reason=None, missing=[], index=whole(record["index"] + index))
            yield record

def bits(data): return [byte >> i & 1 for byte in data for i in range(8)]  # the lowest bit of the first byte first
def read_column(body, rows, width, least):  # one number for each row
    need(width & ~16 <= 8 and type(least) in (int, float), "a width or a least that is none")
    if width >= 16:  # sparse: a mask says which rows have a value
        mask = bits(body.read((rows + 7) // 8))
        need(len(mask) >= rows and not any(mask[rows:]), "a mask that does not fit the rows")
        values = iter(read_column(body, sum(mask), width - 16, least))
        return [next(values) if bit else 0 for bit in mask[:rows]]
    data = body.read(rows * width)
    need(len(data) == rows * width, "a body that is too short")
    if width == 8: return struct.unpack(f"<{rows}d", data)
    return [least + int.from_bytes(data[row * width:(row + 1) * width], "little") for row in range(rows)]
def times(at, time, step, took):
    return {"sampledAt": whole(at[0]) + time, "steadyAt": whole(at[1]) + time + step, "tookMs": took / 1000}
def show(line): print(json.dumps(line), flush=True)
def show_record(record):  # as in the JSON profile, numbers that JSON or JavaScript cannot hold are text
    text = {key: json.dumps(value) for key, value in record["params"].items()
            if type(value) is int and abs(value) > SAFE or type(value) is float and not math.isfinite(value)}
    show({**record, "params": {**record["params"], **text}})

class Reader:
    """A sweep, if there is no interval, or a watch. What it knows of the domains outlives connections."""
    def __init__(self, interval, ticks):
        self.interval, self.ticks, self.failures = interval, ticks, 0
        self.known, self.numbers = {}, {}  # by number: (key, schema, record); by key: the number
        self.old = {}  # by key: records of before the newest `begin`
        self.epoch = self.channel = self.sequence = self.tick = self.sync = self.complete = None
        self.left = 0  # rows of the snapshot that are still to come

    def run(self, connection):
        query = {"type": "watch", "intervalMs": self.interval} if self.interval else {"type": "get"}
        if self.epoch != connection.epoch: self.epoch, self.channel = connection.epoch, None
        if self.channel is not None and self.left == 0:
            query["since"] = {"epoch": self.epoch, "channel": self.channel, "sequence": self.sequence}
        self.begun = False  # on this connection
        for message in connection.answers(**query):
            if message["type"] == "begin" and self.interval:
                self.begin(message)
            elif message["type"] == "records":
                self.left -= self.full(connection, message["blocks"], message["at"])
                need(self.left >= 0 or not self.interval, "a snapshot with more rows than begin said")
            elif "channel" in message:
                self.in_channel(message, connection)
            if self.begun and "id" in message and self.left == 0:  # the snapshot is whole
                self.settle(self.complete, self.sync)
                self.sync = None
            if self.ticks == 0: return

    def begin(self, message):
        first, self.begun, self.failures = not self.begun, True, 0
        channel, sequence = whole(message["channel"], 0), whole(message["sequence"], 0)
        show(message)
        if of(bool, message["resumed"]):
            return need(first and (channel, sequence) == (self.channel, self.sequence), "resumed elsewhere")
        self.old.update((key, record) for key, _, record in self.known.values())
        self.known, self.numbers, self.left = {}, {}, whole(message["domains"], 0, DOMAINS)
        self.complete, sync = of(bool, message["complete"]), message.get("sync")
        tick = whole(sync["tick"], 1) if sync else 0
        skipped = tick - self.tick - 1 if channel == self.channel else None  # None: not known
        if self.sequence is not None and skipped not in (0, -1):
            show({"type": "gap", "reason": "reconnected" if first else "slow-consumer", "skipped": skipped})
        self.sync = None if skipped == -1 else sync  # -1: we have had this tick
        self.channel, self.sequence, self.tick = channel, sequence, tick - 1 if self.sync else tick

    def settle(self, complete, sync):  # at the end of a snapshot or a tick
        if complete:  # what has not come again is gone
            for record in self.old.values():
                show({"type": "gone", "domain": record["domain"]})
            self.old = {}
        if sync:
            need(sync["tick"] == self.tick + 1, "a tick that does not count on")
            self.tick, self.ticks = self.tick + 1, self.ticks - 1
            show({"type": "sync", **sync})

    def in_channel(self, message, connection):
        need(self.begun and self.left == 0 and message["channel"] == self.channel, "a message of another channel")
        need(message["sequence"] == self.sequence + 1, "a sequence that does not count on")
        self.sequence += 1  # also for a message of a type that we do not know
        if message["type"] == "changes":
            for number in message["gone"]:
                key, _, record = self.known.pop(number)
                del self.numbers[key]
                show({"type": "gone", "domain": record["domain"]})
            self.full(connection, message["full"], message["at"])
            for block in message["changed"]:
                for record in connection.changed(block, message["at"], self.known):
                    show_record(record)
        elif message["type"] == "sync":
            self.settle(message["complete"], message)
        elif message["type"] in ("status", "gap"):
            show(message)

    def full(self, connection, blocks, at):
        rows = [row for block in blocks for row in connection.full(block, at)]
        for number, (key, schema, record) in rows:
            if self.interval:  # a sweep has no numbers
                before = self.known.get(whole(number, 0, DOMAINS - 1))
                need(not before or self.left == 0 and before[0] == key, "a full row of another domain than its number")
                need(self.numbers.setdefault(key, number) == number, "a domain with two numbers")
                self.known[number] = key, schema, record
                self.old.pop(key, None)
            show_record(record)
        return len(rows)

def main(url, interval=0, ticks=-1):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    reader = Reader(int(interval), int(ticks))
    while True:
        connection = None
        try:
            connection = Connection(url)
            connection.hello()
            reader.run(connection)
            return connection.close(1000)
        except Failed as error:
            code, message = error.args
        except OSError as error:
            code, message = "connection-lost", str(error)
        except Exception as error:  # the decoding stumbled over it
            code, message = "protocol-error", f"malformed: {error!r}"
        if connection:
            connection.close(4400 if code == "protocol-error" else 1000, message)
        if code not in RETRYABLE or not interval or reader.epoch is None: sys.exit(f"{code}: {message}")
        show({"type": "lost", "code": code, "message": message})
        reader.failures += 1  # since the newest `begin`
        time.sleep(random.uniform(0.5, 1) * min(30, 2**reader.failures / 4))

main(*sys.argv[1:4]) if sys.argv[1:] else sys.exit(__doc__)
