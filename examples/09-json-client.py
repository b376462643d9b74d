#!/usr/bin/env python3
"""A client of the JSON profile of PROTOCOL.md, with Python's library only. Prints each message, one JSON object a line.

    09-json-client.py ws://127.0.0.1:16580          a sweep
    09-json-client.py ws://127.0.0.1:16580 1000     a watch, every 1000 ms, until it is interrupted"""
import base64, json, os, socket, sys
from urllib.parse import urlsplit

def frame(opcode, payload):
    head, mask = bytes([0x80 | opcode, 0x80 | len(payload)]), os.urandom(4)  # none of ours is longer than 125 bytes
    link.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

def messages():
    parts = []
    while True:
        first, size = stream.read(2)
        if size > 125:
            size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
        payload = stream.read(size)
        if first & 15 == 8:  # close
            sys.exit(f"closed with {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
        elif first & 15 == 9:  # ping
            frame(10, payload)
        elif first & 15 < 3:  # a message, or a part of one
            parts.append(payload)
            if first & 0x80:
                yield json.loads(b"".join(parts))
                parts = []

to = urlsplit(sys.argv[1])
link = socket.create_connection((to.hostname, to.port or 16580), 10)
stream = link.makefile("rb")
link.sendall(f"GET / HTTP/1.1\r\nHost: {to.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
             "Sec-WebSocket-Protocol: virstream.v1.json\r\n\r\n".encode())
if b" 101 " not in (status := stream.readline()):
    sys.exit(f"no upgrade: {status.decode().strip()}")
while stream.readline().strip():  # headers, up to an empty line
    pass
query = {"type": "watch", "intervalMs": int(sys.argv[2])} if sys.argv[2:] else {"type": "get"}
for message in {"type": "hello"}, {**query, "id": 1}:
    frame(1, json.dumps(message).encode())
for message in messages():
    if message["type"] == "welcome":
        link.settimeout(2.5 * message["beatMs"] / 1000)  # silence for so long: give up
    if message["type"] != "beat":
        print(json.dumps(message), flush=True)
    if message["type"] == "end":
        break
frame(8, (1000).to_bytes(2, "big"))
