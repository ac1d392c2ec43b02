"""Crowds of clients that are too many for Python: the program `crowd` in this folder."""

import json
import os
import select
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
# The full length of the tests, `tests/run restarts-full`, is for measuring too.
FULL = os.environ.get("WSCHAT_RESTARTS") == "full"
PROGRAMS = TARGET / ("release" if FULL else "debug") / "examples"


class Crowd:
    """Clients that check all that they hear; options are those of the program."""

    def __init__(self, to="127.0.0.1:8080", clients=1, cut=False, **options):
        self.clients = clients
        command = [PROGRAMS / "crowd", to, "--clients", str(clients)] + ["--cut"] * cut
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ready = self._line()
        assert ready == "ready\n", ready

    def mark(self):
        """Forgets how long it was silent."""
        self._command("mark")

    def report(self):
        """How things are: see crowd/main.rs."""
        self._command("report")
        return json.loads(self._line())

    def end(self):
        """Waits until everybody has heard everything, and tells how it was."""
        self._command("end")
        figures = json.loads(self._line())
        self.process.communicate()
        return figures

    def leave(self):
        """Cuts all connections."""
        self.process.kill()
        self.process.communicate()

    def all_heard_all(self):
        """Ends; everybody must be there to the end, and nothing be wrong."""
        figures = self.end()
        assert not figures["wrong"] and not figures["closed"], figures
        assert figures["open"] == figures["clients"] and figures["messages"], figures
        return figures

    def _command(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def _line(self, secs=120):
        readable, _, _ = select.select([self.process.stdout], [], [], secs)
        assert readable, f"the crowd said nothing for {secs} s"
        return self.process.stdout.readline()
