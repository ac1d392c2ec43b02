"""Restarts and upgrades under load.

Each scenario has a short form, for every run of the tests, and the full form that
docs/restart.md describes (`tests/run restarts-full`).
"""

import json
import os
import random
import shutil
import signal
import statistics
import time

from clients import all_receive, join
from machine import until
from many_clients import FULL, PROGRAMS, TARGET, ManyClients
from steps import enable, install, journal, pid, scenario

# The clients send faster than the default limit, from one address.
UNLIMITED = "limits.messages_per_sec = 0\n"

TIMES = ("ActiveExit", "InactiveEnter", "InactiveExit", "ActiveEnter")


def sized(short, full):
    """One number for the short form and one for the full form."""
    return full if FULL else short


def note(box, what, **figures):
    """Writes figures for docs/restart.md. The scenarios do not check times."""
    with open(TARGET / "restarts.jsonl", "a") as out:
        print(json.dumps({"release": box.release, "what": what, **figures}), file=out)


def restart(box):
    """Restarts the service; returns the ms until the old process ended, and until READY=1."""
    box.run("systemctl restart wschat")
    names = ",".join(f"{name}TimestampMonotonic" for name in TIMES)
    shown = box.out(f"systemctl show -p {names} wschat.service")
    stamps = dict(line.split("=") for line in shown.splitlines())
    begun, ended, _, ready = (int(stamps[f"{name}TimestampMonotonic"]) for name in TIMES)
    return (ended - begun) / 1000, (ready - begun) / 1000


def wait_for_log(box, what):
    """Waits for a line of the journal with these words."""
    return until(lambda: any(what in entry["MESSAGE"] for entry in journal(box)), what)


def check_new_clients(box):
    """Checks that new clients can connect and send messages."""
    ann, bob = join(2)
    ann.say("ann", "still here")
    all_receive([ann, bob], "still here")
    ann.abort()
    bob.abort()


# All clients stay connected.


@scenario
def hundred_restarts_keep_all_clients(box):
    # The buffers are so small that clients that do not read lag at once.
    enable(box, UNLIMITED + "limits.feed_tail_bytes = 16777216\nlimits.send_buffer_bytes = 4096\n")
    times = sized(20, 100)
    clients = ManyClients(count=500, senders=20, stalled=20, newcomers=10 * times, rate=40, cut=True)
    for _ in range(times):
        restart(box)
    # The clients that do not read lag.
    until(lambda: " 20 lagging" in box.out("wschat status"), "20 are lagging")
    figures = clients.check_all_received()
    status = box.out("wschat status")
    note(box, "hundred", restarts=times, status=status, **figures)


@scenario
def silence_of_a_restart_with_many_messages(box):
    measure(box, "busy", count=sized(2000, 10_000), rate=8)


@scenario
def silence_of_a_restart_with_many_clients(box):
    measure(box, "largest", count=sized(4000, 19_000), rate=2)


def measure(box, what, count, rate):
    """Restarts under steady load, and notes figures of each restart."""
    enable(box, UNLIMITED)
    clients = ManyClients(count=count, senders=8, rate=rate)
    runs = []
    for _ in range(sized(1, 5)):
        time.sleep(2)
        clients.mark()
        exit_ms, all_ms = restart(box)
        time.sleep(2)
        report = clients.report()
        assert report["open"] == count and not report["errors"], report
        silence = [report["room_silence_ms"], report["client_silence_ms"]]
        runs.append([exit_ms, all_ms, *silence])
    names = ("exit_ms", "restart_ms", "room_silence_ms", "client_silence_ms")
    medians = dict(zip(names, map(statistics.median, zip(*runs))))
    note(box, what, clients=count, rate=rate, runs=runs, **medians)
    clients.check_all_received()


@scenario
def upgrade_keeps_all_clients(box):
    enable(box, UNLIMITED)
    clients = ManyClients(count=sized(1000, 5000), senders=20, stalled=20, rate=10, cut=True)
    old = box.property("wschat.service", "InvocationID")
    clients.mark()
    install(box, revision=2)
    assert box.out("dpkg-query -Wf '${Version}' wschat").endswith("-2")
    assert box.property("wschat.service", "InvocationID") != old
    note(box, "upgrade", **clients.check_all_received())


@scenario
def clients_at_a_unix_socket_stay(box):
    enable(box, UNLIMITED)
    box.drop_in("wschat.socket", "[Socket]\nListenStream=/run/wschat.sock\n")
    box.run("systemctl stop wschat.service; systemctl restart wschat.socket")
    clients = ManyClients(f"unix:/proc/{box.leader}/root/run/wschat.sock", count=300, senders=5, cut=True)
    for _ in range(3):
        restart(box)
    clients.check_all_received()


@scenario
def clients_behind_a_proxy_stay(box):
    enable(box, UNLIMITED)
    box.write(
        "/etc/nginx/sites-enabled/default",
        "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n"
        "server { listen 127.0.0.1:80; location / {\n"
        "proxy_pass http://127.0.0.1:8080; proxy_http_version 1.1; proxy_buffering off;\n"
        "proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade;\n"
        "proxy_set_header Connection $connection_upgrade; } }\n",
    )
    box.run("systemctl start nginx")
    clients = ManyClients("127.0.0.1:80", count=200, senders=5, cut=True)
    for _ in range(3):
        restart(box)
    clients.check_all_received()


@scenario
def broken_configuration_at_a_restart_keeps_clients_waiting(box):
    enable(box, UNLIMITED)
    clients = ManyClients(count=100, senders=5, rate=20)
    box.write("/etc/wschat.toml", "[limits]\nconnections_max = 0\n")
    box.run("systemctl restart wschat", check=False)
    until(lambda: int(box.property("wschat.service", "NRestarts")) > 1, "systemd tries again")
    box.write("/etc/wschat.toml", UNLIMITED)
    until(lambda: box.property("wschat.service", "ActiveState") == "active", "it comes up")
    clients.check_all_received()


# All clients receive a close frame, or the end of their event stream and its reason.


@scenario
def stop_closes_all_clients(box):
    enable(box, UNLIMITED)
    clients = ManyClients(count=sized(500, 5000), senders=20, rate=20)
    box.run("systemctl stop wschat.socket wschat.service")
    assert wait_until_closed(clients) == all_closed(clients, 1001, "server stopped")


@scenario
def restart_without_a_store_closes_with_1012(box):
    install(box)
    box.drop_in("wschat.service", "[Service]\nFileDescriptorStoreMax=0\n")
    box.run("systemctl enable --now wschat.socket")
    clients = ManyClients(count=200, senders=5, rate=20)
    box.run("systemctl restart wschat")
    assert wait_until_closed(clients) == all_closed(clients, 1012, "server restarts")
    assert wait_for_log(box, "descriptor store")
    check_new_clients(box)


@scenario
def invalid_state_closes_with_1012(box):
    enable(box, UNLIMITED)
    shutil.copy(PROGRAMS / "tamper", f"/proc/{box.leader}/root/usr/bin/tamper")
    for how, why in (
        ("damage", "the checksum is wrong"),
        ("newer", "a state of version 99"),
        ("lose", "no snapshot was stored"),
    ):
        box.drop_in(
            "wschat.service",
            "[Service]\nExecPaths=/usr/bin/tamper\nExecStart=\n"
            f"ExecStart=/usr/bin/tamper {how} /usr/bin/wschat serve\n",
        )
        clients = ManyClients(count=300, senders=20, rate=20, cut=True)
        box.run("systemctl restart wschat")
        # Without the state, nobody knows which connections are event streams.
        closed = wait_until_closed(clients)
        assert closed == all_closed(clients, 1012, "server restarts", ended=""), (how, closed)
        assert wait_for_log(box, why), how
        check_new_clients(box)


@scenario
def killed_during_a_handover(box):
    enable(box, UNLIMITED)
    outcomes = []
    for _ in range(sized(6, 40)):
        clients = ManyClients(count=sized(300, 2000), senders=20, stalled=20, rate=40, cut=True)
        old = pid(box)
        box.run("systemctl restart --no-block wschat")
        time.sleep(random.uniform(0, 0.06))
        try:
            os.kill(old, signal.SIGKILL)
        except ProcessLookupError:
            pass
        until(lambda: box.property("wschat.service", "ActiveState") == "active", "it comes up")
        check_new_clients(box)
        report = clients.report()
        assert not report["errors"], report
        known = {"cut", "events ended: ", *all_closed(clients, 1012, "server restarts")}
        assert {how for how in report["closed"]} <= known, report
        outcomes.append({"open": report["open"], **report["closed"]})
        clients.kill()
    note(box, "killed", outcomes=outcomes)


def all_closed(clients, code, reason, ended=None):
    """The ends of all clients in a report: of WebSockets, and of event streams with a reason."""
    ended = reason if ended is None else ended
    ends = {f"{code} {reason}": clients.count - clients.streams, f"events ended: {ended}": clients.streams}
    return {end: count for end, count in ends.items() if count}


def wait_until_closed(clients):
    """The number of clients by the reason of their end. There may be no errors."""
    def closed():
        report = clients.report()
        return report if not report["open"] else None

    report = until(closed, "all clients are closed")
    assert not report["errors"], report
    clients.kill()
    return report["closed"]
