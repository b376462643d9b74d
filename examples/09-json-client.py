#!/usr/bin/env python3
"""A client of the JSON profile of PROTOCOL.md, with Python's library only. It prints each message as one line of JSON.

    09-json-client.py ws://127.0.0.1:16580          one sweep
    09-json-client.py ws://127.0.0.1:16580 1000     a watch: a sweep every 1000 ms, until you press Ctrl-C

Nearly all of it is WebSocket (RFC 6455), as far as it is needed here. What it leaves out: a token, connecting again, and
giving up a silent connection."""
import base64, json, os, socket, sys, urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
server = socket.create_connection((url.hostname, url.port or 16580))
stream = server.makefile("rb")
server.sendall((f"GET / HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                "Sec-WebSocket-Protocol: virstream.v1.json\r\n\r\n").encode())
status, *headers = iter(stream.readline, b"\r\n")
if b" 101 " not in status:
    sys.exit(status.decode())

def send(opcode, payload):
    mask = os.urandom(4)  # a client masks what it sends; none of this is longer than 125 bytes
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    server.sendall(bytes([0x80 + opcode, 0x80 + len(payload)]) + mask + masked)

query = {"type": "watch", "intervalMs": int(sys.argv[2])} if sys.argv[2:] else {"type": "get"}
for message in {"type": "hello"}, {**query, "id": 1}:
    send(1, json.dumps(message).encode())

text, type = b"", None
while type != "end":
    first, size = stream.read(2)
    if size > 125:
        size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
    opcode, payload = first & 15, stream.read(size)
    if opcode == 8:  # close
        sys.exit(f"closed: {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
    elif opcode == 9:  # a ping, which wants a pong
        send(10, payload)
    elif opcode < 3:  # a message, or a part of one
        text += payload
        if first & 0x80:  # the last part
            type = json.loads(text)["type"]
            print(text.decode(), flush=True)
            text = b""
