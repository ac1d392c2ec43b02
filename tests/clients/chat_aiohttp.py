"""chat_aiohttp.py URL: sends each line of its input, and prints each text, with aiohttp."""

import asyncio
import sys

import aiohttp


async def main():
    async with aiohttp.ClientSession() as session, session.ws_connect(sys.argv[1]) as room:
        asyncio.create_task(send(room))
        async for message in room:
            print(message.data, flush=True)


async def send(room):
    while line := await asyncio.to_thread(sys.stdin.readline):
        await room.send_str(line.rstrip("\n"))


asyncio.run(main())
