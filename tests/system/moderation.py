"""Moderation survives restarts and crashes, and is logged."""

import json

from clients import all_receive, join
from machine import until
from steps import enable, journal, pid, scenario, token

SECRET = "a secret of the tests, at least 32 bytes"
CONFIG = f'[auth]\njwt_secret = "{SECRET}"\nmoderator_claim = "mod"\n'


def receives_notice(client, code):
    """Waits for a notice with this code."""
    until(lambda: client.errors()[-1:] == [code], f"the notice {code}")


@scenario
def mutes_survive_restart_and_crash(box):
    enable(box)
    ann, bob = join(2)
    bob.say("bob", "hello")
    all_receive([ann, bob], "hello")
    box.run("wschat mute bob --for 1h")
    bob.say("bob", "muted")
    receives_notice(bob, "muted")
    box.run("systemctl restart wschat")
    bob.say("Bob", "still muted")
    until(lambda: bob.errors() == ["muted", "muted"], "the mute is still there")
    # A kick finds a client that sent its last message before the restart.
    ann.say("ann", "here I am")
    all_receive([ann, bob], "here I am")
    box.run("systemctl restart wschat")
    box.run("wschat kick ann")
    until(lambda: ann.code == 1008, "ann is kicked")
    assert ann.reason == "kicked"

    box.run("wschat lock")
    until(lambda: '"locked": true' in box.out("cat /run/wschat/control.sock.moderation.json"), "it is saved")
    assert "600 wschat wschat" == box.out("stat -c '%a %U %G' /run/wschat/control.sock.moderation.json")
    old = pid(box)
    box.run("systemctl kill -s KILL wschat.service")
    until(lambda: bob.closed, "the crash")
    until(lambda: box.run("wschat status", check=False).returncode == 0, "the next process")
    assert pid(box) != old
    (bob,) = join()
    bob.say("bob", "locked out")
    receives_notice(bob, "locked")
    box.run("wschat unlock")
    bob.say("bob", "and muted")
    receives_notice(bob, "muted")
    mutes = json.loads(box.out("wschat mutes --json"))
    assert [mute["whom"] for mute in mutes["mutes"]] == ['"bob"'], mutes


@scenario
def every_action_is_logged_to_the_journal(box):
    enable(box, CONFIG)
    chief = token(box, claim="mod=true")
    (ann,) = join()
    ann.send({"usr": "ann", "jwt": chief, "cmd": {"mute": "bob\u202e\n", "secs": 60}})
    until(lambda: ann.received and ann.received[-1].get("ack") == "mute", "the acknowledgement")
    box.run("wschat unmute --address 192.0.2.1", check=False)
    box.run("wschat slow 30")
    done = lambda: [entry for entry in journal(box) if "WSCHAT_ACT" in entry]
    mute, slow = until(lambda: len(done()) > 1 and done(), "the lines")
    assert (mute["WSCHAT_ACT"], mute["WSCHAT_SECS"]) == ("mute", "60"), mute
    assert mute["WSCHAT_WHOM"] == r'"bob\u{202e}\n"', mute
    assert mute["WSCHAT_BY"] == '"ann" (sub "ann")', mute
    assert "\u202e" not in mute["MESSAGE"] and "\n" not in mute["MESSAGE"], mute
    said = [slow[f"WSCHAT_{name}"] for name in ("ACT", "BY", "SECS")]
    assert said == ["slow", "uid 0", "30"], slow
    assert not any(chief in json.dumps(entry) for entry in journal(box))
