"""A room on one machine becomes a node of a cluster and comes back, as docs/cluster.md says.

The NATS server is the one that tests/run has installed, with the unit of Debian's package and
the shipped example as its configuration. Three of them have a loopback address each.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from clients import join
from machine import CACHE, until
from returning import Crowd
from steps import enable, journal, metrics, pid, scenario, status_text

EXAMPLES = "/usr/share/doc/wschat/examples"
DROP_IN = "/etc/systemd/system/wschat.service.d/cluster.conf"
SERVER = Path(os.environ.get("WSCHAT_NATS_SERVER", CACHE / "nats/usr/sbin/nats-server"))
SERVER_UNIT = SERVER.parents[2] / "usr/lib/systemd/system/nats-server.service"
HOST, *_ = HOSTS = [f"nats{number}.example.org" for number in (1, 2, 3)]
ADDRESSES = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]
# The clients send faster than the default limit, from one address.
UNLIMITED = "limits.messages_per_sec = 0\n"
CLUSTER = f'[cluster]\nservers = ["tls://{HOST}"]\ntls_ca_file = "wschat.nats.pem"\n'
INIT = "wschat cluster init --credentials /root/wschat-init.nk"
IS_AWAY = "no messages can be sent since "


@scenario
def single_room_becomes_a_node_and_comes_back(box):
    enable(box, UNLIMITED)
    room = Watched()
    room.say("a single room")
    box.run("wschat mute bob")
    exposure = exposure_of_sandbox(box)
    start_nats(box)
    install_drop_in(box)
    box.write("/etc/wschat.toml", UNLIMITED + CLUSTER)
    missing = box.run("wschat check", check=False)
    assert missing.returncode == 78 and "there is no stream" in missing.stderr, missing
    said = box.out(f"{INIT} --replicas 1").splitlines()[-1]
    assert said == "the mutes, the lock and slow mode of this room were copied", said
    box.run("wschat check")
    box.run("systemctl restart wschat")
    # docs/cluster.md has the figures of systemd 252.
    assert exposure < 0.5 and exposure_of_sandbox(box) < 1.5
    # The start has waited for the connection.
    assert cluster(box)["connected"] and IS_AWAY not in status_text(box), status_text(box)
    assert f"connected to tls://{HOST}:4222" in box.out("wschat status")
    room.say("a node")
    (bob,) = join()
    bob.say("bob", "the mute was copied")
    until(lambda: bob.errors() == ["muted"], "the notice muted")

    box.run("systemctl restart wschat")
    room.say("a node that has restarted")
    # No message was refused, those that came in the restarts neither.
    refused = json.loads(box.out("wschat status --json"))["refused"]
    assert {code: count for code, count in refused.items() if count} == {"muted": 1}, refused

    # Back to a single room.
    box.write("/etc/wschat.toml", UNLIMITED)
    box.run(f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart wschat")
    assert cluster(box) is None
    room.say("a single room again")
    bob.say("bob", "the mute holds")
    until(lambda: bob.errors() == ["muted", "muted"], "the notice muted")
    room.check_all_received()


@scenario
def node_outlives_its_server_and_a_crash(box):
    enable_node(box)
    room = Watched()
    room.say("a node")
    lines = lambda: [e["MESSAGE"] for e in journal(box) if "the cluster is" in e["MESSAGE"]]
    assert lines() == [f"the cluster is connected: tls://{HOST}:4222"], lines()

    # What the unit does at a stop; its program needs /bin/kill.
    box.run("systemctl kill --signal=INT nats-server")
    why = until(lambda: IS_AWAY in (text := status_text(box)) and text, "the status line says so")
    assert not cluster(box)["connected"], why
    (eve,) = join()
    eve.say("eve", "not sent")
    until(lambda: eve.errors() == ["unavailable"], "the notice unavailable")
    assert box.run("wschat mute eve", check=False).returncode == 69
    until(lambda: len(lines()) > 1, "a line in the journal")
    assert metrics(box)["wschat_cluster_connected"] == 0
    box.run("systemctl restart wschat")
    assert IS_AWAY in status_text(box) and not cluster(box)["connected"]
    room.check_stays()

    box.run("systemctl start nats-server")
    until(lambda: cluster(box)["connected"], "the node is connected")
    room.say("the server is back")
    until(lambda: IS_AWAY not in status_text(box), "the status line says nothing of it")
    assert "not sent" not in eve.texts(), eve.texts()
    # One line at each change, and one at the start of each process.
    away = ["the cluster is away, messages are refused"] * 2
    connected = [f"the cluster is connected: tls://{HOST}:4222"]
    found = [line if "connected" in line else line.split(":")[0] for line in lines()]
    assert found == connected + away + connected, lines()

    os.kill(pid(box), signal.SIGKILL)
    room.wait_until_back()
    until(lambda: (status := cluster(box, check=False)) and status["connected"], "it is connected")
    room.say("after a crash")
    room.check_all_received()


@scenario
def sandbox_without_the_drop_in_forbids_the_connection(box):
    enable(box, UNLIMITED)
    room = Watched()
    start_nats(box)
    box.write("/etc/wschat.toml", UNLIMITED + CLUSTER)
    # The command does not run in the sandbox.
    box.run(f"{INIT} --replicas 1")
    box.run("systemctl restart wschat")
    why = cluster(box)["reason"]
    assert "; the sandbox of wschat.service forbids it: install the drop-in wschat-cluster.conf" in why
    assert why in status_text(box), status_text(box)
    room.check_stays()
    install_drop_in(box)
    box.run("systemctl restart wschat")
    room.say("a node")
    room.check_all_received()


@scenario
def one_of_three_servers_fails(box):
    servers = json.dumps([f"tls://{host}" for host in HOSTS])
    enable(box, UNLIMITED + CLUSTER.replace(f'["tls://{HOST}"]', servers))
    start_three(box)
    install_drop_in(box)
    box.run(INIT)
    box.run("systemctl start wschat")
    room = Watched()
    room.say("three servers")
    number = HOSTS.index(cluster(box)["server"].removeprefix("tls://").removesuffix(":4222"))
    box.run(f"systemctl kill --signal=KILL nats{number + 1}")
    room.say("two servers", secs=60)
    box.run(f"systemctl start nats{number + 1}")
    until(lambda: missing_server() is None, "the servers count each other", 60)
    room.check_all_received()


class Watched:
    """Listeners that come back, somebody who speaks all the time, and one who is answered."""

    def __init__(self):
        self.crowd = Crowd(count=20, rate=40)
        self._note()
        (self.ann,) = join()

    def _note(self):
        self.opened = [listener.open_since for listener in self.crowd.listeners]

    def check_stays(self):
        """Checks that every connection is the one that it was."""
        assert [it.open_since for it in self.crowd.listeners] == self.opened
        assert not self.ann.closed, (self.ann.code, self.ann.reason)

    def say(self, text, secs=30):
        """Sends a message, again whenever it was refused, and checks that everybody receives it."""
        said = refused = len(self.ann.errors())

        def is_sent():
            nonlocal said, refused
            refused = len(self.ann.errors())
            if said == refused:
                self.ann.say("ann", text)
                said += 1
            return text in self.ann.texts()

        until(is_sent, f"{text!r} is sent", secs)
        has = lambda it: any(text.encode() in message for message in it.texts[-400:])
        until(lambda: all(map(has, self.crowd.listeners)), f"all receive {text!r}")
        self.check_stays()

    def wait_until_back(self):
        """Waits until everybody has another connection."""
        is_new = lambda it, old: it.open_since not in (None, old)
        back = lambda: all(map(is_new, self.crowd.listeners, self.opened))
        until(back, "all are back")
        self._note()
        (self.ann,) = join()

    def check_all_received(self):
        """Checks that nobody has missed a message, or received one twice."""
        self.check_stays()
        assert self.crowd.check_all_received() > 0


def enable_node(box):
    """A node, connected to its server."""
    enable(box, UNLIMITED + CLUSTER)
    start_nats(box)
    install_drop_in(box)
    box.run(f"{INIT} --replicas 1")
    box.run("systemctl start wschat")
    assert cluster(box)["connected"], status_text(box)


def start_nats(box):
    """Starts one server with the example as its configuration, but for the other servers."""
    example = install_nats(box)
    config, count = re.subn(r"\ncluster \{.*?\n\}\n", "\n", example, flags=re.DOTALL)
    assert count == 1, example
    box.write("/etc/nats-server.conf", config.replace("0.0.0.0:", f"{ADDRESSES[0]}:"))
    box.run("nats-server -t -c /etc/nats-server.conf; systemctl start nats-server")
    # It listens when it has logged this.
    ready = "journalctl -b -u nats-server | grep -q 'Server is ready'"
    until(lambda: box.run(ready, check=False).returncode == 0, "the server is ready")


def start_three(box):
    """Starts the three servers of the example, and repairs a start at which one is not counted."""
    example = install_nats(box)
    unit = box.out("cat /usr/lib/systemd/system/nats-server.service")
    for number, address in enumerate(ADDRESSES, 1):
        config = example
        for old, new in (
            ("server_name: nats1", f"server_name: nats{number}"),
            ("0.0.0.0:", f"{address}:"),
            ("127.0.0.1:8222", f"{address}:8222"),
            ("/etc/nats/nats1.", f"/etc/nats/nats{number}."),
            ('"/var/lib/nats"', f'"/var/lib/nats/{number}"'),
        ):
            assert old in config, old
            config = config.replace(old, new)
        box.write(f"/etc/nats{number}.conf", config)
        box.run(f"nats-server -t -c /etc/nats{number}.conf")
        own = unit.replace("nats-server.conf", f"nats{number}.conf")
        box.write(f"/etc/systemd/system/nats{number}.service", own)
    box.run("systemctl daemon-reload; systemctl start nats1 nats2 nats3")
    with contextlib.suppress(AssertionError):
        until(lambda: missing_server() is None, "the servers count each other", 5)
    if number := missing_server():
        box.run(f"systemctl kill --signal=KILL nats{number}; systemctl start nats{number}")
        until(lambda: missing_server() is None, "the servers count each other")


def missing_server():
    """The number of a server that the leader of the servers does not count."""
    names = ["nats1", "nats2", "nats3"]
    for address in ADDRESSES:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}:8222/jsz") as answer:
            seen = json.load(answer).get("meta_cluster", {})
            others = [it["name"] for it in seen.get("replicas") or [] if it.get("current")]
            if seen.get("leader") and others:
                left = [n for n, name in enumerate(names, 1) if name not in [seen["leader"], *others]]
                assert left or seen["cluster_size"] == 3, seen
                return left[0] if left else None
    return 1


def install_nats(box):
    """Installs the server and what the example needs; returns the example with the keys."""
    root = f"/proc/{box.leader}/root"
    shutil.copy(SERVER, f"{root}/usr/sbin/nats-server")
    shutil.copy(SERVER_UNIT, f"{root}/usr/lib/systemd/system/")
    # As Debian's package does.
    box.run("useradd --system --user-group --no-create-home nats; systemctl daemon-reload")
    for address, host in zip(ADDRESSES, HOSTS):
        box.run(f"echo {address} {host} >>/etc/hosts")
    make_certificates(box)
    config = box.out(f"cat {EXAMPLES}/nats-server.conf")
    box.run("install -d -m 700 /etc/credstore")
    keys = re.findall(r"nkey: (\w+)", config)
    for old, file in zip(keys, ("/etc/credstore/wschat.nats", "/root/wschat-init.nk"), strict=True):
        config = config.replace(old, box.out(f"wschat cluster key {file}"))
    box.run("install -d -o nats -g nats -m 750 /var/lib/nats")
    return config


def make_certificates(box):
    """An authority, and the certificates of the servers."""
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    names = [("NATS", [])]
    names += [(host, [*signed, "-addext", f"subjectAltName=DNS:{host}"]) for host in HOSTS]
    with tempfile.TemporaryDirectory() as folder:
        for name, more in names:
            file = "ca" if name == "NATS" else name.split(".")[0]
            more = ["-subj", f"/CN={name}", "-keyout", f"{file}.key", "-out", f"{file}.pem", *more]
            subprocess.run([*new, *more], check=True, capture_output=True, cwd=folder)
        for file in Path(folder).iterdir():
            box.write(f"/etc/nats/{file.name}", file.read_text())
    box.run("cp /etc/nats/ca.pem /etc/wschat.nats.pem; rm /etc/nats/ca.key")
    box.run("chgrp nats /etc/nats/*.key; chmod 640 /etc/nats/*.key")


def install_drop_in(box):
    """Opens the sandbox for the servers."""
    box.run(f"install -D -m 644 {EXAMPLES}/wschat-cluster.conf {DROP_IN}")
    box.run(f"sed -i 's/^IPAddressAllow=.*/IPAddressAllow={' '.join(ADDRESSES)}/' {DROP_IN}")
    box.run("systemctl daemon-reload")


def cluster(box, check=True):
    """The cluster in the status of the node; None in a single room, or while there is no node."""
    answer = box.run("wschat status --json", check).stdout
    return json.loads(answer).get("cluster") if answer else None


def exposure_of_sandbox(box):
    """How exposed the service is in the eyes of systemd, from 0 to 10."""
    last = box.out("systemd-analyze security --no-pager wschat.service").splitlines()[-1]
    print(last)
    return float(re.search(r"exposure level for wschat.service: (\S+)", last)[1])
