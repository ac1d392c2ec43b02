"""Restarts and upgrades that drop nobody, in a room full of traffic.

Each scenario has a short form, for every run of the tests, and the full one that
docs/restart.md tells of (`tests/run restarts-full`).
"""

import json
import os
import random
import shutil
import signal
import statistics
import time

from clients import all_hear, join
from crowd import FULL, PROGRAMS, TARGET, Crowd
from machine import until
from steps import enable, install, journal, pid, scenario

# A crowd speaks faster than a person, all of it from one address.
UNLIMITED = "limits.messages_per_sec = 0\n"

TIMES = ("ActiveExit", "InactiveEnter", "InactiveExit", "ActiveEnter")


def sized(short, full):
    """A number of the full form or of the short one."""
    return full if FULL else short


def note(box, what, **figures):
    """Keeps figures for docs/restart.md; the scenarios judge none that depends on time."""
    with open(TARGET / "restarts.jsonl", "a") as out:
        print(json.dumps({"release": box.release, "what": what, **figures}), file=out)


def restart(box):
    """Restarts the service; gives back how many ms the old process took to end, and all."""
    box.run("systemctl restart wschat")
    names = ",".join(f"{name}TimestampMonotonic" for name in TIMES)
    shown = box.out(f"systemctl show -p {names} wschat.service")
    stamps = dict(line.split("=") for line in shown.splitlines())
    begun, ended, _, ready = (int(stamps[f"{name}TimestampMonotonic"]) for name in TIMES)
    return (ended - begun) / 1000, (ready - begun) / 1000


def said(box, what):
    """Waits for a line of the journal with these words."""
    return until(lambda: any(what in entry["MESSAGE"] for entry in journal(box)), what)


def comes_up(box):
    """The room is there, for whoever comes now."""
    ann, bob = join(2)
    ann.say("ann", "still here")
    all_hear([ann, bob], "still here")
    ann.leave()
    bob.leave()


# Everybody stays.


@scenario
def hundred_restarts_keep_everybody(box):
    # Buffers so small that those who do not read are lagging at once.
    enable(box, UNLIMITED + "limits.feed_tail_bytes = 16777216\nlimits.send_buffer_bytes = 4096\n")
    times = sized(20, 100)
    crowd = Crowd(clients=500, senders=20, stalled=20, newcomers=10 * times, rate=40, cut=True)
    for _ in range(times):
        restart(box)
    # Those who do not read are behind indeed.
    until(lambda: " 20 lagging" in box.out("wschat status"), "20 are lagging")
    figures = crowd.all_heard_all()
    status = box.out("wschat status")
    note(box, "hundred", restarts=times, status=status, **figures)


@scenario
def busy_room_is_silent_for_a_moment_only(box):
    measured(box, "busy", clients=sized(2000, 10_000), rate=8)


@scenario
def largest_crowd_survives(box):
    measured(box, "largest", clients=sized(4000, 19_000), rate=2)


def measured(box, what, clients, rate):
    """Restarts under steady traffic, with figures for each time."""
    enable(box, UNLIMITED)
    crowd = Crowd(clients=clients, senders=8, rate=rate)
    runs = []
    for _ in range(sized(1, 5)):
        time.sleep(2)
        crowd.mark()
        exit_ms, all_ms = restart(box)
        time.sleep(2)
        report = crowd.report()
        assert report["open"] == clients and not report["wrong"], report
        silence = [report["room_silence_ms"], report["client_silence_ms"]]
        runs.append([exit_ms, all_ms, *silence])
    names = ("exit_ms", "restart_ms", "room_silence_ms", "client_silence_ms")
    medians = dict(zip(names, map(statistics.median, zip(*runs))))
    note(box, what, clients=clients, rate=rate, runs=runs, **medians)
    crowd.all_heard_all()


@scenario
def upgrade_keeps_everybody(box):
    enable(box, UNLIMITED)
    crowd = Crowd(clients=sized(1000, 5000), senders=20, stalled=20, rate=10, cut=True)
    old = box.property("wschat.service", "InvocationID")
    crowd.mark()
    install(box, revision=2)
    assert box.out("dpkg-query -Wf '${Version}' wschat").endswith("-2")
    assert box.property("wschat.service", "InvocationID") != old
    note(box, "upgrade", **crowd.all_heard_all())


@scenario
def clients_at_a_unix_socket_stay(box):
    enable(box, UNLIMITED)
    box.drop_in("wschat.socket", "[Socket]\nListenStream=/run/wschat.sock\n")
    box.run("systemctl stop wschat.service; systemctl restart wschat.socket")
    here = Crowd(f"unix:/proc/{box.leader}/root/run/wschat.sock", clients=300, senders=5, cut=True)
    for _ in range(3):
        restart(box)
    here.all_heard_all()


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
    crowd = Crowd("127.0.0.1:80", clients=200, senders=5, cut=True)
    for _ in range(3):
        restart(box)
    crowd.all_heard_all()


@scenario
def broken_configuration_at_a_restart_keeps_clients_waiting(box):
    enable(box, UNLIMITED)
    crowd = Crowd(clients=100, senders=5, rate=20)
    box.write("/etc/wschat.toml", "[limits]\nconnections_max = 0\n")
    box.run("systemctl restart wschat", check=False)
    until(lambda: int(box.property("wschat.service", "NRestarts")) > 1, "it tries on")
    box.write("/etc/wschat.toml", UNLIMITED)
    until(lambda: box.property("wschat.service", "ActiveState") == "active", "it comes up")
    crowd.all_heard_all()


# Everybody is told.


@scenario
def stop_is_no_restart(box):
    enable(box, UNLIMITED)
    crowd = Crowd(clients=sized(500, 5000), senders=20, rate=20)
    box.run("systemctl stop wschat.socket wschat.service")
    assert everybody_is_gone(crowd) == {"1001 server stopped": crowd.clients}


@scenario
def restart_without_a_store_says_so(box):
    install(box)
    box.drop_in("wschat.service", "[Service]\nFileDescriptorStoreMax=0\n")
    box.run("systemctl enable --now wschat.socket")
    crowd = Crowd(clients=200, senders=5, rate=20)
    box.run("systemctl restart wschat")
    assert everybody_is_gone(crowd) == {"1012 server restarts": crowd.clients}
    assert said(box, "descriptor store")
    comes_up(box)


@scenario
def state_that_is_no_use_costs_a_close_and_no_more(box):
    enable(box, UNLIMITED)
    shutil.copy(PROGRAMS / "tamper", f"/proc/{box.leader}/root/usr/bin/tamper")
    for how, complaint in (
        ("damage", "the checksum is wrong"),
        ("newer", "a state of version 99"),
        ("lose", "no snapshot was stored"),
    ):
        box.drop_in(
            "wschat.service",
            "[Service]\nExecPaths=/usr/bin/tamper\nExecStart=\n"
            f"ExecStart=/usr/bin/tamper {how} /usr/bin/wschat serve\n",
        )
        crowd = Crowd(clients=300, senders=20, rate=20, cut=True)
        box.run("systemctl restart wschat")
        assert everybody_is_gone(crowd) == {"1012 server restarts": crowd.clients}, how
        assert said(box, complaint), how
        comes_up(box)


@scenario
def killed_in_the_middle_of_a_handover(box):
    enable(box, UNLIMITED)
    outcomes = []
    for _ in range(sized(6, 40)):
        crowd = Crowd(clients=sized(300, 2000), senders=20, stalled=20, rate=40, cut=True)
        old = pid(box)
        box.run("systemctl restart --no-block wschat")
        time.sleep(random.uniform(0, 0.06))
        try:
            os.kill(old, signal.SIGKILL)
        except ProcessLookupError:
            pass
        until(lambda: box.property("wschat.service", "ActiveState") == "active", "it comes up")
        comes_up(box)
        report = crowd.report()
        assert not report["wrong"], report
        assert {how for how in report["closed"]} <= {"cut", "1012 server restarts"}, report
        outcomes.append({"open": report["open"], **report["closed"]})
        crowd.leave()
    note(box, "killed", outcomes=outcomes)


def everybody_is_gone(crowd):
    """How many were closed with what; nothing may have been wrong."""
    def gone():
        report = crowd.report()
        return report if not report["open"] else None

    report = until(gone, "everybody is gone")
    assert not report["wrong"], report
    crowd.leave()
    return report["closed"]
