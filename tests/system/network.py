"""Listeners whose network vanishes, and listeners that are stopped."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from clients import all_receive, join
from machine import until
from steps import enable, pid, scenario

IDLE_SECS = 5
# After so long without a message the daemon sends a comment.
COMMENT_SECS = 15
NEAR, FAR = "198.51.100.1", "198.51.100.2"


@scenario
def event_stream_of_a_dead_peer_is_closed(box):
    enable(box, f"[limits]\nping_interval_secs = {IDLE_SECS - 2}\nidle_timeout_secs = {IDLE_SECS}\n")
    box.drop_in("wschat.socket", f"[Socket]\nFreeBind=yes\nListenStream={NEAR}:8080\n")
    box.run("systemctl restart wschat.socket")
    # A second host: its own network namespace, and a cable.
    box.run(
        "ip netns add far; ip link add near type veth peer name far netns far;"
        f"ip address add {NEAR}/24 dev near; ip link set near up;"
        f"ip -n far address add {FAR}/24 dev far; ip -n far link set far up"
    )
    [ann] = join()
    stopped = listen_from(box, "", "127.0.0.1")
    gone = listen_from(box, "ip netns exec far ", NEAR)
    until(lambda: len(listed(box)) == 3, "all three listen")
    before = tcp_sockets(box)
    assert before == 5, "two listening sockets and three connections"
    os.kill(stopped.inside, signal.SIGSTOP)
    ann.say("ann", "everybody is there")
    assert next_data(gone) == "everybody is there"

    box.run("ip -n far link set far down")
    began = time.monotonic()
    limit = IDLE_SECS + COMMENT_SECS
    # The kernel of a busy machine may be late.
    until(lambda: FAR not in listed(box), "the dead peer is noticed", limit + 10)
    assert time.monotonic() - began > 1, "it was closed for another reason"
    closed = [line for line in box.out("wschat metrics").splitlines() if 'reason="idle"' in line]
    assert closed == ['wschat_closed_connections_total{reason="idle"} 1'], closed
    until(lambda: tcp_sockets(box) == before - 1, "its descriptor is closed")

    # The kernel of a stopped client still acknowledges what arrives.
    ann.say("ann", "after it is gone")
    all_receive([ann], "after it is gone")
    assert sorted(listed(box)) == ["127.0.0.1", "127.0.0.2"]
    os.kill(stopped.inside, signal.SIGCONT)
    assert next_data(stopped) == "everybody is there"
    assert next_data(stopped) == "after it is gone"
    for client in (stopped, gone):
        os.kill(client.inside, signal.SIGKILL)


def listed(box):
    """The addresses of all listeners, without their ports."""
    lines = box.out("wschat clients --json").splitlines()
    return [json.loads(line)["address"].split(":")[0] for line in lines]


def tcp_sockets(box):
    """How many TCP sockets the daemon has. Other descriptors come and go."""
    # The daemon has a network namespace of its own, and its sockets are from that of systemd.
    table = Path(f"/proc/{box.leader}/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{line.split()[9]}]" for line in table}
    return sum(link(file) in inodes for file in Path(f"/proc/{pid(box)}/fd").iterdir())


def link(file):
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(file)


def listen_from(box, where, address):
    """Listens with the shell of the machine, in a network namespace."""
    request = f"GET /events HTTP/1.1\\r\\nHost: {address}\\r\\n\\r\\n"
    script = f"exec 3<>/dev/tcp/{address}/8080; printf '{request}' >&3; exec cat <&3"
    command = ["nsenter", "-t", box.leader, "-a", "--", "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    command += [*where.split(), "bash", "-c", script]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while client.stdout.readline() != "retry: 3000\n":
        assert client.poll() is None
    # nsenter waits for a child in the namespace of processes.
    client.inside = descendant(client.pid)
    return client


def descendant(parent):
    """The youngest descendant of a process."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return descendant(int(children[0])) if children else parent


def next_data(client):
    """The text of the next message of an event stream."""
    while not (line := client.stdout.readline()).startswith("data: ") or line.endswith("}}\n"):
        assert line, "the stream has ended"
    return json.loads(line.removeprefix("data: "))["msg"]
