"""Listeners that come back whenever their connection ends, and a speaker that does so too.

Half of them are WebSockets and half are event streams. Each asks for what follows the last
message that it has. They run on the event loop of clients.py.
"""

import asyncio
import base64
import os
import time

import clients
from machine import until


class Returning:
    """One listener: the messages that it received, in order, and its gap notices."""

    def __init__(self, is_event_stream, port=8080):
        self.is_event_stream = is_event_stream
        self.port = port
        self.texts = []
        self.gaps = []
        self.faults = []
        # When its current connection was opened; None while there is none.
        self.open_since = None

    def last_tim(self):
        # Every text ends with {"tim":"…"}.
        return self.texts[-1][-32:-2].decode() if self.texts else ""

    async def run(self):
        while True:
            try:
                await self._listen()
            except (OSError, EOFError):
                pass
            self.open_since = None
            # The connection waits for the next process, so this is not a busy loop.
            await asyncio.sleep(0.01)

    async def _listen(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ")[1] not in (b"101", b"200"):
                self.faults.append(head)
                return
            self.open_since = time.monotonic()
            read = read_events if self.is_event_stream else read_frames
            async for text in read(reader, writer):
                self._receive(text)
        finally:
            writer.close()

    def _request(self):
        if self.is_event_stream:
            last = self.last_tim()
            lines = ["GET /events HTTP/1.1", "Host: room"] + [f"Last-Event-ID: {last}"] * bool(last)
        else:
            key = base64.b64encode(os.urandom(16)).decode()
            lines = [f"GET /?since={self.last_tim()} HTTP/1.1", "Host: room"]
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
            lines += [f"Sec-WebSocket-Key: {key}"]
        return "\r\n".join([*lines, "", ""]).encode()

    def _receive(self, text):
        if clients.is_presence(text):
            return
        if b'"err":"gap"' in text:
            self.gaps.append(text)
        elif text[-32:-2].decode() > self.last_tim():
            self.texts.append(text)
        else:
            self.faults.append(text)


async def read_frames(reader, writer):
    """The texts of the server's frames."""
    while True:
        head = await reader.readexactly(2)
        length = head[1]
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        body = await reader.readexactly(length)
        opcode = head[0] & 15
        if opcode == clients.TEXT:
            yield body
        elif opcode == clients.PING:
            writer.write(clients.frame(clients.PONG, body))
        elif opcode == clients.CLOSE:
            return


async def read_events(reader, _):
    """The data of the server's events."""
    while True:
        event = await reader.readuntil(b"\n\n")
        for line in event.splitlines():
            if line.startswith(b"data: "):
                yield line.removeprefix(b"data: ")


async def speak(rate, port=8080):
    """Sends numbered messages. What is sent while the connection ends is lost."""
    number = 0
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(
                b"GET / HTTP/1.1\r\nHost: room\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key.encode() + b"\r\n\r\n"
            )
            await reader.readuntil(b"\r\n\r\n")
            due = asyncio.get_running_loop().time()
            while not reader.at_eof():
                text = '{"usr":"ann","msg":"%d and so on"}' % number
                writer.write(clients.frame(clients.TEXT, text.encode()))
                number += 1
                due += 1 / rate
                # What it receives is not read further than this.
                while (left := due - asyncio.get_running_loop().time()) > 0:
                    try:
                        await asyncio.wait_for(reader.read(65536), left)
                    except TimeoutError:
                        break
                    if reader.at_eof():
                        break
            writer.close()
        except (OSError, EOFError):
            pass
        await asyncio.sleep(0.01)


class Crowd:
    """Many listeners that come back, and the speaker."""

    def __init__(self, count, rate):
        self.listeners = [Returning(number % 2 == 1) for number in range(count)]
        # The event loop itself keeps no reference to its tasks.
        self.tasks = [run(listener.run()) for listener in self.listeners]
        self.wait_until_back(0)
        self.speaker = run(speak(rate))

    def wait_until_back(self, since):
        """Waits until each has a connection that was opened after `since`."""
        back = lambda it: it.open_since and it.open_since > since
        until(lambda: all(map(back, self.listeners)), "all are back")

    def heard(self):
        """The number of messages that some listener has."""
        return max(len(listener.texts) for listener in self.listeners)

    def check_all_received(self):
        """Ends the speaker. Checks that all listeners have received the same, without a gap."""
        self.speaker.cancel()
        same = lambda: len({it.last_tim() for it in self.listeners}) == 1
        until(same, "all have the last message")
        longest = max((it.texts for it in self.listeners), key=len)
        for number, it in enumerate(self.listeners):
            assert not it.faults and not it.gaps, (number, it.faults[:3], it.gaps[:3])
            missing = set(longest) - set(it.texts)
            assert it.texts == longest, f"{number} lacks {len(missing)}: {sorted(missing)[:3]}"
        return len(longest)


def run(coroutine):
    """Starts a coroutine on the event loop of the clients."""
    return asyncio.run_coroutine_threadsafe(coroutine, clients.LOOP)
