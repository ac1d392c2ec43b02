"""Crashes: clients that come back get what they missed.

The first scenario has a short form, for every run of the tests, and a full form that
docs/restart.md describes (`tests/run crashes-full`).
"""

import os
import random
import signal
import statistics
import time
from pathlib import Path

from clients import all_receive, join
from faults import hung_thread
from machine import until
from restart import UNLIMITED, note, sized, wait_for_log
from returning import Crowd
from steps import enable, install, journal, pid, scenario


def crash(box, number=signal.SIGKILL):
    """Kills the daemon, and waits until the next one runs."""
    old = box.property("wschat.service", "MainPID")
    os.kill(pid(box), number)
    wait_for_next(box, old)


def wait_for_next(box, old):
    def runs():
        # One answer: between two, the old process can end.
        shown = box.out("systemctl show --value -p ActiveState -p MainPID wschat").split()
        return "active" in shown and old not in shown and "0" not in shown

    until(runs, "the next process runs")


def say(count):
    """Sends messages one after the other, and returns them as they are received."""
    [ann] = join()
    for number in range(count):
        ann.say("ann", f"message {number}")
        all_receive([ann], f"message {number}")
    ann.abort()
    return ann.received


def since(message):
    """A listener that has received everything up to this message."""
    return join(path=f"/?since={message['tim']}")[0]


def check_missed(messages):
    """Checks that a listener that comes back gets all but the first, without a gap."""
    bob = since(messages[0])
    until(lambda: len(bob.received) >= len(messages) - 1, "it gets what it missed")
    assert bob.received == messages[1:], bob.received
    bob.abort()


def check_gap(message):
    """Checks that a listener that comes back with this message is told of a gap."""
    bob = since(message)
    until(lambda: bob.errors() == ["gap"], "a gap notice")
    bob.abort()


def logged(box, words):
    """The number of entries of the journal with these words."""
    return sum(words in entry["MESSAGE"] for entry in journal(box))


# What some listener has received, everybody receives.


@scenario
def crashes_under_load_lose_no_message(box):
    enable(box, UNLIMITED)
    crowd = Crowd(count=sized(60, 200), rate=50)
    times, back_ms = sized(4, 50), []
    for _ in range(times):
        before = crowd.heard()
        until(lambda: crowd.heard() > before + 5, "the room talks")
        time.sleep(random.uniform(0, 0.5))
        victim = pid(box)
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        crowd.wait_until_back(killed)
        back_ms.append(1000 * (time.monotonic() - killed))
    messages = crowd.check_all_received()
    assert int(box.property("wschat.service", "NRestarts")) == times
    until(lambda: logged(box, "recovered messages") == times, "each start is logged")
    median, longest = statistics.median(back_ms), max(back_ms)
    note(box, "crashes", crashes=times, messages=messages, back_ms=median, longest_ms=longest)


@scenario
def every_kind_of_crash_keeps_the_messages(box):
    install(box)
    box.drop_in("wschat.service", "[Service]\nWatchdogSec=3s\n")
    box.run("systemctl enable --now wschat.socket")
    messages = say(3)
    # SIGKILL is what the OOM killer sends, SIGABRT is how a panic ends.
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGILL):
        crash(box, number)
        check_missed(messages)
        messages += say(1)
    [ann] = join()
    old = box.property("wschat.service", "MainPID")
    with hung_thread(pid(box), "shard-0"):
        until(lambda: ann.closed, "the watchdog ends the daemon")
    wait_for_next(box, old)
    check_missed(messages)


@scenario
def crashes_and_restarts_alternate(box):
    enable(box, UNLIMITED)
    messages = []
    for _ in range(3):
        messages += say(2)
        crash(box)
        crash(box)
        messages += say(1)
        [ann] = join()
        box.run("systemctl restart wschat")
        ann.say("ann", "still connected")
        all_receive([ann], "still connected")
        messages += ann.received
        check_missed(messages)
    old = pid(box)
    install(box, revision=2)
    assert pid(box) != old
    messages += say(1)
    crash(box)
    check_missed(messages)


@scenario
def crash_during_a_start_loses_no_message(box):
    enable(box, UNLIMITED)
    box.drop_in("wschat.service", "[Service]\nRestartSec=0\n")
    messages = say(5)
    for _ in range(sized(10, 60)):
        old = pid(box)
        os.kill(old, signal.SIGKILL)
        new = wait_for_process(box, old)
        time.sleep(random.uniform(0, 0.03))
        os.kill(new, signal.SIGKILL)
        check_missed(messages)


def wait_for_process(box, old):
    """The next process of the daemon, as soon as it exists."""
    namespace = os.readlink(f"/proc/{box.leader}/ns/pid")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for status in box.host_processes():
            new = int(status["Pid"])
            if status["Name"] == "wschat" and new != old and has_namespace(new, namespace):
                return new
    raise AssertionError("no next process")


def has_namespace(process, namespace):
    try:
        return os.readlink(f"/proc/{process}/ns/pid") == namespace
    except OSError:
        return False


# What is damaged or gone is told.


def tail_file(box):
    """The tail file of the running daemon, as it can be opened."""
    for file in Path(f"/proc/{pid(box)}/fd").iterdir():
        if os.readlink(file).startswith("/memfd:wschat-tail"):
            return file
    raise AssertionError("no tail file")


def damage(box, text):
    """Flips a bit of the first byte of the stored text."""
    with open(tail_file(box), "r+b", buffering=0) as file:
        at = file.read().index(text)
        byte = os.pread(file.fileno(), 1, at)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), at)


@scenario
def damaged_tail_file_gives_no_wrong_byte(box):
    enable(box, UNLIMITED)
    messages = say(4)
    damage(box, b"message 3")
    crash(box)
    assert wait_for_log(box, "recovered messages of the previous process: 3")
    assert wait_for_log(box, "were damaged and are lost")
    bob = since(messages[0])
    until(lambda: len(bob.received) == 3, "a notice and two messages")
    assert bob.errors() == ["gap"] and bob.received[1:] == messages[1:3], bob.received
    for text in (b"message 1", b"wschatT"):
        messages = say(4)
        damage(box, text)
        crash(box)
        check_gap(messages[0])
    words = "cannot recover the messages of the previous process"
    until(lambda: logged(box, words) == 2, "both are logged")


@scenario
def stop_forgets_the_messages(box):
    enable(box, UNLIMITED)
    messages = say(2)
    box.run("systemctl stop wschat.service")
    check_gap(messages[0])
    assert not logged(box, "recover")


@scenario
def crash_without_a_store_is_a_gap(box):
    install(box)
    box.drop_in("wschat.service", "[Service]\nFileDescriptorStoreMax=0\n")
    box.run("systemctl enable --now wschat.socket")
    messages = say(2)
    crash(box)
    check_gap(messages[0])
    messages = say(2)
    box.run("systemctl restart wschat")
    check_gap(messages[0])
