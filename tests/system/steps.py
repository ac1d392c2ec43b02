"""Steps that several scenarios share."""

import json

from machine import until
from prometheus_client.parser import text_string_to_metric_families

SECRET = "an old secret that is longer than 32 bytes"


def scenario(function):
    """Marks a function as a scenario, which tests/system/run runs."""
    function.scenario = True
    return function


def install(box, revision=1):
    """Installs the package, and keeps changed configuration files."""
    return box.out(f"dpkg -i --force-confold /srv/dist/wschat_*-{revision}_*.deb 2>&1")


def enable(box, config=""):
    """Installs the package, and enables and starts wschat.socket."""
    install(box)
    if config:
        box.write("/etc/wschat.toml", config)
    box.run("systemctl enable --now wschat.socket")


def token(box, **options):
    """A token that is signed with the configured secret."""
    flags = "".join(f" --{name} {value}" for name, value in options.items())
    return box.out(f"wschat token --sub ann{flags}")


def pid(box):
    """The process id of the daemon in the namespace of this process."""

    def find():
        # Between two processes there is none, and a new one is not wschat at first.
        inside = box.property("wschat.service", "MainPID")
        for status in box.host_processes():
            if status["NSpid"].split()[-1] == inside and status["Name"] == "wschat":
                return int(status["Pid"])
        return None

    return until(find, "the daemon runs")


def status_text(box):
    return box.property("wschat.service", "StatusText")


def metrics(box):
    """The metrics without labels."""
    families = text_string_to_metric_families(box.out("wschat metrics") + "\n")
    samples = [sample for family in families for sample in family.samples]
    return {sample.name: sample.value for sample in samples if not sample.labels}


def journal(box, *match):
    """The journal entries of the daemon, as objects."""
    lines = box.out(f"journalctl -b -o json --no-pager SYSLOG_IDENTIFIER=wschat {' '.join(match)}")
    return [json.loads(line) for line in lines.splitlines()]
