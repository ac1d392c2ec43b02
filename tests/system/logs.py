"""Metrics under systemd, the log lines about clients, and what fail2ban makes of them.

Each function is a scenario, and each scenario has its own machine.
"""

import re
import urllib.request

from clients import all_receive, join
from machine import until
from prometheus_client.parser import text_string_to_metric_families
from steps import enable, pid, scenario

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
    # Later restarts find the socket, too.
    box.run("systemctl restart wschat")
    clients[0].say("ann", "once more")
    all_receive(clients, "once more")
    assert scraped()[1]["wschat_restarts_survived_total"] == 2
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
    # After a boot, a scrape is the first client.
    box.run("systemctl stop wschat.socket wschat.service")
    box.run("systemctl enable wschat-metrics.socket && systemctl start sockets.target wschat-metrics.socket wschat.socket")
    assert box.property("wschat.service", "ActiveState") == "inactive"
    until(lambda: scraped()[1]["wschat_listeners"] == 0, "a scrape starts the service")
