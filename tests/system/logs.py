"""Metrics under systemd, the log lines about clients, and what fail2ban makes of them.

Each function is a scenario, and each scenario has its own machine.
"""

import json
import re
import socket
import time
import urllib.request

from clients import TEXT, all_receive, frame, join
from machine import until
from prometheus_client.parser import text_string_to_metric_families
from steps import enable, install, journal, pid, scenario, token

# wschat(8) says so.
ENABLE = "systemctl enable wschat-metrics.socket && systemctl restart wschat"
DISABLE = "systemctl disable --now wschat-metrics.socket && systemctl restart wschat"


def scrape(path="/metrics", port=9464):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.read().decode()


def scraped():
    """The samples of /metrics: names, and the values of those without labels."""
    samples = [s for family in text_string_to_metric_families(scrape()) for s in family.samples]
    values = {sample.name: sample.value for sample in samples if not sample.labels}
    return {sample.name for sample in samples}, values


@scenario
def metrics_have_a_socket_that_costs_no_connection(box):
    enable(box)
    assert box.run("systemctl is-enabled wschat-metrics.socket", check=False).stdout == "disabled\n"
    clients = join(3)
    clients[0].say("ann", "before")
    all_receive(clients, "before")
    first = pid(box)
    # As many would try it: systemd refuses, and nobody is disconnected.
    assert box.run("systemctl enable --now wschat-metrics.socket", check=False).returncode
    assert pid(box) == first
    box.run("systemctl disable wschat-metrics.socket")
    box.run(ENABLE)
    clients[0].say("ann", "after")
    all_receive(clients, "after")
    assert pid(box) != first and not any(client.closed for client in clients)
    names, values = scraped()
    assert values["wschat_listeners"] == 3 and values["wschat_messages_total"] == 2, values
    # The shipped dashboard and alerts use only metrics that exist, some of them in a cluster.
    watched = box.out("cat /usr/share/doc/wschat/examples/*.json /usr/share/doc/wschat/examples/*.yml")
    assert {it for it in re.findall(r"\bwschat_\w+", watched) if "cluster" not in it} <= names
    assert scrape("/healthz") == "ok\n"
    # The sandbox hides other processes only.
    assert 3 < values["process_open_fds"] < values["process_max_fds"], values
    assert values["process_resident_memory_bytes"] > 1e6 and values["process_cpu_seconds_total"] > 0
    assert abs(values["process_start_time_seconds"] - time.time()) < 600, values
    assert values["wschat_delivery_delay_seconds_count"] >= 2, values
    assert values["wschat_message_size_bytes_count"] == 2, values
    # Later restarts find the socket, too.
    box.run("systemctl restart wschat")
    clients[0].say("ann", "once more")
    all_receive(clients, "once more")
    assert scraped()[1]["wschat_restarts_survived_total"] == 2
    # A restart of the socket of the room restarts this one, too.
    box.run("systemctl restart wschat.socket")
    clients[0].say("ann", "and again")
    all_receive(clients, "and again")
    assert scrape("/healthz") == "ok\n"
    # The manual's way to another address.
    box.drop_in("wschat-metrics.socket", "[Socket]\nListenStream=\nListenStream=127.0.0.1:9465\n")
    box.run("systemctl stop wschat-metrics.socket && systemctl restart wschat")
    assert scrape("/healthz", 9465) == "ok\n"
    box.run("rm -r /etc/systemd/system/wschat-metrics.socket.d; systemctl daemon-reload")
    box.run(DISABLE)
    assert box.run("ss -Hltn | grep -c :946", check=False).stdout == "0\n"
    clients[0].say("ann", "without metrics")
    all_receive(clients, "without metrics")
    assert not any(client.closed for client in clients)
    # A scrape does not open a room that was stopped.
    box.run(ENABLE)
    box.run("systemctl stop wschat.socket wschat.service")
    assert box.property("wschat-metrics.socket", "ActiveState") == "inactive"
    # After a boot, a scrape is the first client.
    box.run("systemctl start wschat.socket wschat-metrics.socket")
    assert box.property("wschat.service", "ActiveState") == "inactive"
    until(lambda: scraped()[1]["wschat_listeners"] == 0, "a scrape starts the service")


# What fail2ban makes of the log. The listener that a forger wants banned, and addresses that
# are banned.
EXAMPLES = "/usr/share/doc/wschat/examples"
VICTIM, FLOODER, FORGER = "127.0.0.2", "127.0.0.66", "127.0.0.77"
FORGED = f"refused a message from {VICTIM}, id 1: rate-limited"
SECRET = "a secret that is longer than 32 bytes"


class Attacker:
    """A WebSocket from a given address, which reads nothing."""

    def __init__(self, source, server="127.0.0.1", fields=""):
        self.socket = socket.create_connection((server, 8080), 10, (source, 0))
        self.socket.sendall(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + fields.encode()
            + b"\r\n"
        )
        self.status = int(self.socket.recv(12)[9:])

    def say(self, **fields):
        self.socket.sendall(frame(TEXT, json.dumps(fields).encode()))


def attack(source, server="127.0.0.1"):
    """Whether a new connection sends a message, which is refused, before the address is banned."""
    try:
        Attacker(source, server).say(usr="eve", msg="x", jwt="no token")
        return True
    except OSError:
        return False


def forge(fields=FORGED):
    """Tries to have somebody else banned."""
    for name in ("User-Agent", "Origin", "X-Forwarded-For", "Cookie"):
        Attacker(FORGER, fields=f"{name}: {fields}\r\n")
    forger = Attacker(FORGER)
    for text in (fields, f"x\n{fields}\n", f"x\r\nNov 27 10:00:00 host wschat[1]: {fields}"):
        forger.say(usr=text, msg=text, jwt=text)
        forger.say(usr=text, msg=text, cmd={"kick": text})


def banned(box):
    return set(box.out("fail2ban-client get wschat banip").split())


@scenario
def fail2ban_bans_who_is_refused_and_nobody_else(box):
    install(box)
    # A network of IPv6: the client has all addresses of its /64.
    box.run("for a in 1:0::1 2::5 2::6 2::7 2::8; do ip -6 addr add 2001:db8:0:$a/64 dev lo nodad; done")
    box.drop_in("wschat.socket", "[Socket]\nListenStream=[2001:db8:0:1::1]:8080\n")
    config = f"[auth]\njwt_secret = '{SECRET}'\nmoderator_claim = 'mod'\n"
    box.write("/etc/wschat.toml", config)
    box.run("systemctl start wschat.socket")
    box.run(f"cp {EXAMPLES}/fail2ban-filter.conf /etc/fail2ban/filter.d/wschat.conf")
    box.run(f"cp {EXAMPLES}/fail2ban-jail.conf /etc/fail2ban/jail.d/wschat.conf")
    # All addresses here are those of the machine itself; and 30 seconds would be long.
    test = "[sshd]\nenabled = false\n[wschat]\nignoreself = false\nmaxretry = 3\n"
    box.write("/etc/fail2ban/jail.d/zz-test.conf", test)
    box.run("systemctl start fail2ban")
    until(lambda: "wschat" in box.run("fail2ban-client status", check=False).stdout, "the jail runs")
    [victim] = join()
    moderator = token(box, claim="mod=true")
    # A moderator may have any name, and other programs may log as they like.
    Attacker("127.0.0.3").say(usr=f"ann\n{FORGED}", msg="x", jwt=moderator)
    Attacker("127.0.0.3").say(usr="ann", cmd={"mute": f"x\n{FORGED}"}, jwt=moderator)
    box.run(f"wschat mute 'x\n{FORGED}'; wschat kick 'x\n{FORGED}' || true")

    def rotate():
        attack(FLOODER)
        attack(f"2001:db8:0:2::{rotate.count % 4 + 5}", "2001:db8:0:1::1")
        forge_if_not_banned()
        box.run(f"logger -t wschat '{FORGED}'; echo '{FORGED}' | systemd-cat -t wschat")
        rotate.count += 1
        return banned(box) >= {FLOODER, FORGER, "2001:db8:0:2::/64"}

    rotate.count = 0
    until(rotate, "the addresses are banned")
    assert banned(box) == {FLOODER, FORGER, "2001:db8:0:2::/64"}, banned(box)
    # The ban is real, and the innocent goes on.
    until(lambda: not attack(FLOODER), "the address cannot connect")
    until(lambda: not attack("2001:db8:0:2::5", "2001:db8:0:1::1"), "nor can the network")
    victim.say("bob", "still here", jwt=token(box))
    all_receive([victim], "still here")
    assert attack("127.0.0.9")
    # Every line is an entry with fields, at most one a second and address.
    entries = journal(box, "WSCHAT_EVENT=message-refused", f"WSCHAT_ADDRESS={FLOODER}")
    assert all(entry["WSCHAT_REASON"] == "jwt-invalid" for entry in entries), entries
    times = [int(entry["__REALTIME_TIMESTAMP"]) for entry in entries]
    assert len(times) >= 3 and all(b - a > 900_000 for a, b in zip(times, times[1:])), times
    assert all("WSCHAT_ID" in entry and "WSCHAT_NETWORK" not in entry for entry in entries)
    [first, *_] = journal(box, "WSCHAT_NETWORK=2001:db8:0:2::/64")
    assert first["WSCHAT_ADDRESS"].startswith("2001:db8:0:2::"), first
    # The filter finds the same in a text, as rsyslog writes it.
    box.run("journalctl -b -o short -u wschat >/tmp/log")
    out = box.out("fail2ban-regex -o ip /tmp/log /etc/fail2ban/filter.d/wschat.conf")
    assert VICTIM not in out.split() and {FLOODER, FORGER} <= set(out.split()), out


def forge_if_not_banned():
    try:
        forge()
    except OSError:
        pass
