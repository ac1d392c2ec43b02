"""listen.py URL: listens with httpx-sse, and resumes as its documentation says.

Prints `ID<tab>DATA` for each event.
"""

import sys
import time

import httpx
from httpx_sse import connect_sse

last, retry_ms = "", 3000
# The tests use self-signed certificates.
with httpx.Client(verify=False, timeout=httpx.Timeout(30, read=None)) as client:
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
                for event in source.iter_sse():
                    last = event.id or last
                    retry_ms = event.retry or retry_ms
                    # `retry:` alone is an event without data; presence is the event `room`.
                    if event.data and event.event == "message":
                        print(event.id, event.data, sep="\t", flush=True)
        except httpx.TransportError as error:
            print(error, file=sys.stderr)
        time.sleep(retry_ms / 1000)
