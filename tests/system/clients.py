"""WebSocket clients: RFC 6455 without a library, so that a test sees every byte.

All clients run on one event loop in its own thread; tests read their fields and wait
with `until`.
"""

import asyncio
import base64
import json
import os
import ssl
import struct
import threading

from machine import until

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Client(asyncio.Protocol):
    """One WebSocket: the messages that it received, in order, and how it was closed."""

    def __init__(self, path="/", headers=(), host="localhost"):
        self.request = (path, headers, host)
        self.buffer = bytearray()
        self.open = False
        self.refused = None
        self.received = []
        self.code = None
        self.reason = ""
        self.closed = False
        self.fault = None

    # Called by tests.

    def send(self, value):
        """Sends a text message: an object as JSON, or a text unchanged."""
        text = value if isinstance(value, str) else json.dumps(value)
        self._write(TEXT, text.encode())

    def say(self, usr, msg, **fields):
        """Sends a message to the room."""
        self.send({"usr": usr, "msg": msg, **fields})

    def texts(self):
        """The `msg` of every received message."""
        return [message["msg"] for message in self.received]

    def errors(self):
        """The codes of all received notices."""
        return [message["err"] for message in self.received if "err" in message]

    def abort(self):
        """Disconnects without a close frame."""
        LOOP.call_soon_threadsafe(self.transport.abort)

    # Called by the event loop.

    def connection_made(self, transport):
        self.transport = transport
        path, headers, host = self.request
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {key}", *headers, "", ""]
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data):
        self.buffer += data
        if not self.open and not self._read_response():
            return
        try:
            while self._read_frame():
                pass
        except ValueError as error:
            # Not JSON, or not UTF-8.
            self.fault = error
            self.transport.abort()

    def connection_lost(self, _):
        self.closed = True

    def _read_response(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = bytes(self.buffer[:end]).split(b" ")[1]
        del self.buffer[: end + 4]
        if status != b"101":
            self.refused = int(status)
            self.transport.abort()
            return False
        self.open = True
        return True

    def _read_frame(self):
        have = self.buffer
        if len(have) < 2:
            return False
        length, at = have[1] & 127, 2
        if length == 126:
            at = 4
        elif length == 127:
            at = 10
        if len(have) < at:
            return False
        if at > 2:
            length = int.from_bytes(have[2:at], "big")
        if len(have) < at + length:
            return False
        opcode, body = have[0] & 15, bytes(have[at : at + length])
        del have[: at + length]
        if opcode == TEXT and not is_presence(body):
            self.received.append(json.loads(body))
        elif opcode == PING:
            self._write(PONG, body)
        elif opcode == CLOSE:
            self.code = int.from_bytes(body[:2], "big") if body else 1005
            self.reason = body[2:].decode()
            self._write(CLOSE, body[:2])
        return True

    def _write(self, opcode, body):
        LOOP.call_soon_threadsafe(self.transport.write, frame(opcode, body))


def is_presence(text):
    """Whether a text tells the state of the room: every other one ends with its `tim`."""
    return text.endswith(b"}}")


def frame(opcode, body):
    """A masked frame; its payload is shorter than 65,536 bytes."""
    length = len(body)
    if length < 126:
        head = struct.pack("!BB", 128 | opcode, 128 | length)
    else:
        head = struct.pack("!BBH", 128 | opcode, 254, length)
    # A mask of zeros leaves the bytes unchanged, and RFC 6455 allows it.
    return head + bytes(4) + body


def join(count=1, port=8080, secs=30, wait=True, tls=None, **options):
    """Opens WebSockets, up to 5,000 from each loopback address, if requested with TLS."""
    clients = [Client(host=tls or "localhost", **options) for _ in range(count)]

    async def connect():
        for start in range(0, count, 200):
            await asyncio.gather(
                *(dial(client, start) for client in clients[start : start + 200])
            )

    async def dial(client, number):
        source = (f"127.0.0.{2 + number // 5000}", 0)
        await LOOP.create_connection(
            lambda: client,
            "127.0.0.1",
            port,
            local_addr=source,
            ssl=unchecked() if tls else None,
            server_hostname=tls,
        )

    asyncio.run_coroutine_threadsafe(connect(), LOOP).result(secs)
    if wait:
        until(lambda: all(c.open or c.refused for c in clients), "the WebSockets are open", secs)
    return clients


def unchecked():
    """TLS without verification: the tests use self-signed certificates."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def all_receive(clients, text, secs=30):
    """Waits until every client has received a text."""
    until(lambda: all(text in c.texts() for c in clients), f"all clients receive {text!r}", secs)


LOOP = None


def start():
    """Starts the event loop. Must be called in the network namespace of the machine."""
    global LOOP
    LOOP = asyncio.new_event_loop()
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
