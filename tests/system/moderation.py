"""Moderation survives restarts and crashes, and is logged."""

import json

import clients
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
    until(lambda: '"locked": true' in box.out("cat /var/lib/wschat/moderation.json"), "it is saved")
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
def decisions_survive_stop_and_reboot(box):
    enable(box)
    join()
    box.run("wschat mute bob --for 1h; wschat mute eve --for 1s; wschat slow 7; wschat lock")

    def are_in_force():
        decided = json.loads(box.out("wschat mutes --json"))
        return (
            decided["locked"] and decided["slow_mode_secs"] == 7
            and [mute["whom"] for mute in decided["mutes"]] == ['"bob"']
        )

    until(are_in_force, "the short mute has ended")
    file = "/var/lib/wschat/moderation.json"
    until(lambda: '"locked": true' in box.run(f"cat {file}", check=False).stdout, "it is saved")
    assert box.out(f"stat -c '%a %U %G' {file} /var/lib/wschat") == "600 wschat wschat\n750 wschat wschat"
    # What was removed meanwhile is written again.
    box.run("rm /var/lib/wschat/*; systemctl stop wschat.socket wschat.service; systemctl start wschat.socket")
    (bob,) = join()
    assert are_in_force()
    bob.say("bob", "before the reboot")
    receives_notice(bob, "locked")
    for _ in range(2):
        box.reboot()
        # Their thread is in the network namespace of its start.
        clients.start()
        (bob,) = join()
        assert are_in_force()
    box.run("wschat unlock")
    bob.say("bob", "unlocked, but muted")
    receives_notice(bob, "muted")

    # What nobody can read does not open the room.
    box.run("systemctl stop wschat.socket wschat.service")
    box.write(file, "rubbish")
    box.run("systemctl start wschat.socket")
    (bob,) = join()
    bob.say("bob", "is it open?")
    receives_notice(bob, "locked")
    assert box.out(f"cat {file}.damaged") == "rubbish"


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
    assert said == ["slow", "root (uid 0)", "30"], slow
    assert not any(chief in json.dumps(entry) for entry in journal(box))
