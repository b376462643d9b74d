"""A complete virstream client, written from PROTOCOL.md, with nothing but Python's standard library (3.11 or later).

    python3 06-client-in-python.py ws://127.0.0.1:16580 [--json]

Asks for one sweep and prints each record as a line of JSON as soon as it is there: uuid, name, status, params. With
--json it speaks virstream.v1.json, else virstream.v1. A token is taken from the environment: VIRSTREAM_TOKEN.
What JSON's numbers cannot hold is printed as text: integers beyond 2^53 - 1, NaN and the infinities.
"""

import base64
import hashlib
import json
import math
import os
import socket
import ssl
import struct
import sys
from collections import OrderedDict
from urllib.parse import urlsplit
from uuid import UUID

WELCOME, SCHEMA, HOST, SWEEP, RECORDS, END, PIECE, BEAT = range(1, 9)
INT, UINT, LLONG, ULLONG, DOUBLE, BOOLEAN, STRING = range(1, 8)
STATUSES = ["ok", "partial", "failed", "gone"]
RANGES = {INT: (-(2**31), 2**31 - 1), UINT: (0, 2**32 - 1), LLONG: (-(2**63), 2**63 - 1), ULLONG: (0, 2**64 - 1)}
SAFE = 2**53 - 1
CREDIT = 1_048_576
SILENCE = 37.5


class Malformed(Exception):
    """The server sent what the protocol does not allow."""


class WebSocket:
    """The part of RFC 6455 that a client needs."""

    def __init__(self, url, subprotocol):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        self.sock = socket.create_connection((parts.hostname, port), timeout=SILENCE)
        if parts.scheme == "wss":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=parts.hostname)
        self.file = self.sock.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        lines += [f"Sec-WebSocket-Protocol: {subprotocol}", "", ""]
        self.sock.sendall("\r\n".join(lines).encode())
        status = self.file.readline().decode().strip()
        headers = {}
        while (line := self.file.readline().decode().strip()):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if status.split()[1:2] != ["101"]:
            raise ConnectionError(f"the server answers {status}")
        accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if headers.get("sec-websocket-accept") != base64.b64encode(accept).decode():
            raise ConnectionError("the server did not accept the WebSocket")
        if headers.get("sec-websocket-protocol") != subprotocol:
            raise ConnectionError(f"the server does not speak {subprotocol}")

    def send(self, payload, opcode=1):
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = os.urandom(4)
        self.sock.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def receive(self):
        """The next message: bytes if it is binary, str if it is text."""
        content, kind = b"", None
        while True:
            first, second = self.read(2)
            size = second & 127
            if size == 126:
                (size,) = struct.unpack(">H", self.read(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self.read(8))
            if len(content) + size > 262_144:
                raise Malformed("a message is too large")
            payload, opcode = self.read(size), first & 15
            if opcode == 8:
                code = struct.unpack(">H", payload[:2])[0] if size >= 2 else 1005
                raise ConnectionError(f"the server closed with {code} {payload[2:].decode(errors='replace')}")
            if opcode == 9:
                self.send(payload, 10)
            elif opcode < 3:
                kind = opcode or kind
                content += payload
                if first & 0x80:
                    return content if kind == 2 else content.decode()

    def read(self, size):
        data = self.file.read(size)
        if len(data) < size:
            raise ConnectionError("the connection broke")
        return data

    def close(self, code, reason=""):
        self.send(struct.pack(">H", code) + reason.encode()[:123], 8)
        self.sock.close()


class Msgpack:
    """Reads the part of msgpack that the protocol uses."""

    NUMBERS = {0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
    NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    SIZES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
    SIZES |= {0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
    PLAIN = {0xC0: None, 0xC2: False, 0xC3: True}

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        if self.at > len(self.data):
            raise Malformed("a message ends too early")
        return self.data[self.at - size : self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, depth=12):
        head = self.take(1)[0]
        if head < 0x80:
            return head
        if head >= 0xE0:
            return head - 256
        if head in self.PLAIN:
            return self.PLAIN[head]
        if head in self.NUMBERS:
            return self.number(self.NUMBERS[head])
        if head < 0xC0:
            size = head & (31 if head >= 0xA0 else 15)
        elif head in self.SIZES:
            size = self.number(self.SIZES[head])
        else:
            raise Malformed(f"byte {head:#x}")
        if head in (0xC4, 0xC5, 0xC6):
            return self.take(size)
        if 0xA0 <= head < 0xC0 or 0xD9 <= head <= 0xDB:
            return self.take(size).decode(errors="replace")
        if depth == 0 or size > len(self.data) - self.at:
            raise Malformed("a size cannot be")
        if 0x90 <= head < 0xA0 or head in (0xDC, 0xDD):
            return [self.value(depth - 1) for _ in range(size)]
        return {self.value(0): self.value(depth - 1) for _ in range(size)}


class Client:
    """What the server told on this connection, and the sweep under way."""

    def __init__(self, url, subprotocol):
        self.web_socket = WebSocket(url, subprotocol)
        self.window = OrderedDict()  # schema number -> (keys, types), oldest first
        self.hosts, self.pieces, self.started = {}, [], {}
        self.say(type="hello", client="virstream in Python", token=os.environ.get("VIRSTREAM_TOKEN"))

    def say(self, **members):
        self.web_socket.send(json.dumps({k: v for k, v in members.items() if v is not None}).encode())

    def sweep(self, **query):
        """Yields the records of one sweep. Raises RuntimeError when the sweep as a whole failed."""
        self.say(type="get", id=1, credit=CREDIT, **query)
        consumed = 0
        while True:
            message, size = self.next_message()
            kind = message[0]
            if kind == RECORDS and message[1] == 1:
                yield from self.records(message)
                consumed += size
                if consumed * 2 >= CREDIT:
                    self.say(type="credit", id=1, bytes=consumed)
                    consumed = 0
            elif kind == END and message[1] == 1:
                if message[3] is not None:
                    raise RuntimeError(f"{message[3]['code']}: {message[3]['message']}")
                return

    def next_message(self):
        """The next message that is whole, and its size in bytes. What concerns the connection is seen to here."""
        data = self.web_socket.receive()
        message = self.parse(data)
        while message[0] == PIECE:
            self.pieces.append(message[2])
            if message[1]:
                data = self.join(self.pieces)
                self.pieces = []
            else:
                data = self.web_socket.receive()
            message = self.parse(data)
            if self.pieces and message[0] != PIECE:
                raise Malformed("something else came between pieces")
        kind = message[0]
        if kind == SCHEMA:
            self.define(*message[1:4])
        elif kind == HOST:
            self.hosts[message[1]] = message[2]
        elif kind == SWEEP:
            self.started[message[1]] = message[2]
        elif kind not in (WELCOME, RECORDS, END, BEAT) and kind < 64:
            raise Malformed(f"a message of type {kind}")
        return message, len(data if isinstance(data, bytes) else data.encode())

    @staticmethod
    def parse(data):
        message = Msgpack(data).value() if isinstance(data, bytes) else json.loads(data)
        if not isinstance(message, list) or not message or not isinstance(message[0], int):
            raise Malformed("a message is no array with a type")
        return message

    @staticmethod
    def join(pieces):
        if isinstance(pieces[0], bytes):
            return b"".join(pieces)
        return "".join(pieces)

    def define(self, number, keys, types):
        if len(keys) != len(types) or not all(INT <= code <= STRING for code in types):
            raise Malformed("a schema's types do not fit its keys")
        self.window.pop(number, None)
        self.window[number] = (keys, types)
        total = sum(len(keys) for keys, _ in self.window.values())
        while len(self.window) > 1 and (len(self.window) > 1024 or total > 1_048_576):
            _, (left, _) = self.window.popitem(last=False)
            total -= len(left)

    def records(self, message):
        if message[1] not in self.started:
            raise Malformed("records of a sweep that has not begun")
        latest, next_index = {}, 0
        for row in message[2]:
            uuid, name, domain_id, host, index, schema, sampled_at, took, status = row[:9]
            if schema != 0 and schema not in self.window or host not in self.hosts:
                raise Malformed("a row refers to what was not told")
            keys, types = self.window[schema] if schema else ([], [])
            if len(row) != 9 + len(keys):
                raise Malformed("a row does not fit its schema")
            before = latest.get(schema)
            values = row[9:]
            for i, value in enumerate(values):
                if value is None or isinstance(value, list):
                    if before is None:
                        raise Malformed("a value refers to a row before, and there is none")
                    values[i] = before[i] if value is None else self.continued(before[i], *value)
                else:
                    values[i] = self.typed(value, types[i])
            latest[schema] = values
            next_index += index + 1
            params = {}
            for key, value in zip(keys, values):
                params.setdefault(key, value)  # of a key that occurs twice, the first counts
            yield {
                "uuid": str(UUID(bytes=uuid)) if isinstance(uuid, bytes) else uuid,
                "name": name,
                "id": domain_id,
                "host": self.hosts[host],
                "index": next_index - 1,
                "sampledAt": self.started[message[1]] + sampled_at,
                "tookMs": took / 1000,
                "status": STATUSES[status if status == 0 else status[0]],
                "params": params,
            }

    @staticmethod
    def continued(before, taken, rest):
        if not isinstance(before, str) or not 0 <= taken <= len(before) or not isinstance(rest, str):
            raise Malformed("a string goes on from no string")
        return before[:taken] + rest

    @staticmethod
    def typed(value, code):
        """A value in its declared type; integers and doubles may have come as text in JSON."""
        if code == STRING and isinstance(value, str) or code == BOOLEAN and isinstance(value, bool):
            return value
        if code == DOUBLE and (not isinstance(value, str) or value in ("NaN", "Infinity", "-Infinity")):
            return float(value)
        if code in RANGES and isinstance(value, (int, str)) and not isinstance(value, bool):
            low, high = RANGES[code]
            if low <= int(value) <= high:
                return int(value)
        raise Malformed(f"a value is not of type {code}: {value!r}")


def printable(value):
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value) if type(value) is int and abs(value) > SAFE else value


def main():
    urls = [argument for argument in sys.argv[1:] if argument != "--json"]
    if len(urls) != 1:
        sys.exit(__doc__)
    client = Client(urls[0], "virstream.v1.json" if "--json" in sys.argv else "virstream.v1")
    try:
        for record in client.sweep():
            params = {key: printable(value) for key, value in record["params"].items()}
            line = {"uuid": record["uuid"], "name": record["name"], "status": record["status"], "params": params}
            print(json.dumps(line), flush=True)
    except (Malformed, ValueError, TypeError, KeyError, IndexError) as error:
        client.web_socket.close(4400, "protocol-error")
        sys.exit(f"malformed message: {error!r}")
    except RuntimeError as error:
        client.web_socket.close(1000)
        sys.exit(str(error))
    client.web_socket.close(1000)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"connection lost: {error}")
