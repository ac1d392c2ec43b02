"""Restarts and upgrades that drop nobody, in a room full of traffic."""

import contextlib
import itertools
import os
import signal
import threading
import time

from clients import all_hear, join
from machine import until
from steps import enable, install, pid, scenario


class Traffic:
    """Senders in turn, each counting its own messages, one of three torn in the middle."""

    def __init__(self, senders, per_sec):
        self.senders = senders
        self.pause = 1 / per_sec
        self.sent = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        for number in itertools.count():
            sender = self.senders[number % len(self.senders)]
            message = {"usr": "sender", "msg": str(number)}
            if number % 3 == 0:
                sender.tear(message, 2 * self.pause)
            else:
                sender.send(message)
            self.sent += 1
            if self.stopped.wait(self.pause):
                return

    def stop(self):
        self.stopped.set()
        self.thread.join()


def nobody_missed_anything(crowd, traffic):
    """Every client is there, and has heard every message once, in one order."""
    traffic.stop()
    until(
        lambda: all(client.gone or client.count >= traffic.sent for client in crowd),
        "all that was sent is heard",
    )
    assert not any(client.gone for client in crowd), [c.code for c in crowd if c.gone]
    first = crowd[0]
    assert {(c.count, c.sum) for c in crowd} == {(traffic.sent, first.sum)}
    assert sorted(map(int, first.texts())) == list(range(traffic.sent))
    times = [message["tim"] for message in first.heard]
    assert times == sorted(set(times)), "tim does not strictly increase"


@scenario
def hundred_restarts_keep_everybody(box):
    enable(box, "[limits]\nfeed_tail_bytes = 16777216\n")
    crowd = join(1) + join(499, keep=False)
    traffic = Traffic(crowd[:20], per_sec=10)
    for client in crowd[20:40]:
        client.stall()
    began = box.property("wschat.service", "InvocationID")
    for _ in range(100):
        box.run("systemctl restart wschat")
    assert box.property("wschat.service", "InvocationID") != began
    for client in crowd[20:40]:
        client.resume()
    nobody_missed_anything(crowd, traffic)


@scenario
def upgrade_keeps_everybody(box):
    enable(box)
    crowd = join(1) + join(999, keep=False)
    traffic = Traffic(crowd[:20], per_sec=10)
    install(box, revision=2)
    assert box.out("dpkg-query -Wf '${Version}' wschat").endswith("-2")
    nobody_missed_anything(crowd, traffic)


@scenario
def kill_in_a_hand_over_leaves_a_sound_room(box):
    enable(box)
    for number in range(12):
        crowd = join(200)
        crowd[0].say("ann", f"before {number}")
        all_hear(crowd, f"before {number}")
        old = pid(box)
        box.run("systemctl restart --no-block wschat")
        # Somewhere in the hand-over, or just before or after it.
        time.sleep(number / 500)
        with contextlib.suppress(ProcessLookupError):
            os.kill(old, signal.SIGKILL)
        [late] = join()
        late.say("late", f"after {number}")
        all_hear([late], f"after {number}")
        heard = [f"before {number}", f"after {number}"]
        until(lambda: all(c.gone or c.texts() == heard for c in crowd), "each goes on or is gone")
        for client in crowd:
            assert client.fault is None and client.texts() in (heard, heard[:1]), client.texts()
            client.leave()
