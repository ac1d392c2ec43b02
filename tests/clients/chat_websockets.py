"""chat_websockets.py URL: sends each line of its input, and prints each text, with websockets."""

import asyncio
import sys

import websockets


async def main():
    async with websockets.connect(sys.argv[1]) as room:
        asyncio.create_task(send(room))
        async for text in room:
            print(text, flush=True)


async def send(room):
    while line := await asyncio.to_thread(sys.stdin.readline):
        await room.send(line.rstrip("\n"))


asyncio.run(main())
