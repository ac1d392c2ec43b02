"""More clients than Python can serve: the program many_clients/ in this folder."""

import json
import os
import select
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
# `tests/run restarts-full` runs the scenarios in full length and measures, so it needs a
# release build.
FULL = os.environ.get("WSCHAT_RESTARTS") == "full"
PROGRAMS = TARGET / ("release" if FULL else "debug") / "examples"


class ManyClients:
    """Clients that check everything that they receive; the options are those of the program.

    Every second one that sends nothing listens by server-sent events.
    """

    def __init__(self, to="127.0.0.1:8080", count=1, cut=False, events=True, **options):
        self.count = count
        senders = options.get("senders", 1)
        self.streams = len([n for n in range(senders, count) if n % 2]) if events else 0
        command = [PROGRAMS / "many-clients", to, "--clients", str(count)]
        command += ["--cut"] * cut + ["--events"] * events
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ready = self._line()
        assert ready == "ready\n", ready

    def mark(self):
        """Resets the longest silence."""
        self._command("mark")

    def report(self):
        """The report, see many_clients/main.rs."""
        self._command("report")
        return json.loads(self._line())

    def end(self):
        """Waits until every client has received everything; returns the report."""
        self._command("end")
        report = json.loads(self._line())
        self.process.communicate()
        return report

    def kill(self):
        """Disconnects all clients without a close frame."""
        self.process.kill()
        self.process.communicate()

    def check_all_received(self):
        """Ends. Checks that all clients were connected to the end, and that there are no errors."""
        report = self.end()
        assert not report["errors"] and not report["closed"], report
        assert report["open"] == report["clients"] and report["messages"], report
        return report

    def _command(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def _line(self, secs=120):
        readable, _, _ = select.select([self.process.stdout], [], [], secs)
        assert readable, f"no output of many-clients for {secs} s"
        return self.process.stdout.readline()
