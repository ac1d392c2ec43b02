"""What an operator sees: status before the first client, the journal, crashes."""

import json
import signal

from clients import all_receive, join
from machine import until
from steps import enable, install, journal, scenario, status_text


def lines(box, match=""):
    """The lines of the daemon and its commands in the journal, without those of systemd."""
    return [entry["MESSAGE"] for entry in journal(box, match)]


@scenario
def status_before_the_first_client(box):
    install(box)
    assert box.run("wschat status", check=False).returncode == 3
    box.run("systemctl enable --now wschat.socket")
    waiting = "wschat waits for the first client on 127.0.0.1:8080"
    assert box.out("wschat status") == waiting
    assert json.loads(box.out("wschat status --json")) == {
        "state": "waiting",
        "listening": ["127.0.0.1:8080"],
    }
    [ann] = join()
    status = json.loads(box.out("wschat status --json"))
    assert (status["state"], status["listening"]) == ("running", ["127.0.0.1:8080"]), status
    assert status["pid"] == int(box.property("wschat.service", "MainPID")), status
    assert status["memory_bytes"] > 1 << 20, status
    ann.say("ann", "hello")
    all_receive([ann], "hello")
    assert "ann" in box.out("wschat top")
    box.run("systemctl stop wschat.service")
    assert box.out("wschat status") == waiting
    assert status_text(box) == "stopped", status_text(box)
    box.drop_in("wschat.service", "[Service]\nExecStartPre=\nExecStartPre=/bin/false\n")
    box.run("systemctl start wschat.service", check=False)
    done = until(
        lambda: (it := box.run("wschat status 2>&1", check=False)).returncode == 3 and it,
        "the service does not start",
    )
    assert "wschat.service" in done.stdout, done.stdout


@scenario
def the_journal_has_a_line_for_each_event(box):
    enable(box, "auth.required = false\n")
    [ann] = join()
    start = "wschat 0.3.0, shards: "
    assert [line.startswith(start) for line in lines(box)] == [True], lines(box)
    box.run("systemctl reload wschat")
    assert lines(box)[1:] == ["configuration loaded"], lines(box)
    # systemd has nothing to log about the copy of the unit in which a reload is checked.
    assert "world-inaccessible" not in box.out("journalctl -b --no-pager")
    box.write("/etc/wschat.toml", "auth.leeway_secs = 900\nlimits.x = 1\nlimits.y = 2\n")
    assert box.run("systemctl reload wschat", check=False).returncode != 0
    bad = lines(box)[2:]
    problems = ["auth.leeway_secs: 900", "limits.x: unknown", "limits.y: unknown", "rejected"]
    assert len(bad) == len(problems), bad
    assert all(problem in line for problem, line in zip(problems, bad)), bad
    assert "(and 2 more, see the log)" in box.out("wschat status")
    until(lambda: status_text(box).startswith("configuration rejected "), "STATUS says so")
    box.write("/etc/wschat.toml", "auth.required = false\n")
    box.run("systemctl restart wschat")
    handed, taken = until(lambda: len(it := lines(box)[6:]) == 2 and it, "the log of a restart")
    assert handed == "handed over the room, listeners: 1", handed
    assert " took over the room, listeners: 1, shards: " in taken, taken
    box.run("systemctl stop wschat.service")
    assert lines(box)[8:] == ["stopping, listeners: 1"], lines(box)


@scenario
def restarts_and_crashes_are_counted(box):
    enable(box)
    [ann] = join()
    ann.say("ann", "hello")
    all_receive([ann], "hello")
    box.run("wschat lock && wschat unlock")
    [before] = map(json.loads, box.out("wschat clients --json").splitlines())
    box.run("systemctl restart wschat")
    [after] = map(json.loads, box.out("wschat clients --json").splitlines())
    for figure in ("messages", "refused", "rate_limited"):
        assert after[figure] == before[figure], (before, after)
    assert 'wschat_moderation_acts_total{act="lock"} 1' in box.out("wschat metrics").splitlines()
    assert after["received_bytes"] >= before["received_bytes"] > 0, (before, after)
    for crashes in (1, 2):
        old = box.property("wschat.service", "MainPID")
        box.run(f"systemctl kill -s {signal.SIGKILL.name} wschat.service")
        until(lambda: box.property("wschat.service", "MainPID") not in (old, "0"), "it is back")
        shown = until(
            lambda: box.run("wschat status --json", check=False).stdout, "the daemon answers"
        )
        status = json.loads(shown)
        figures = (status["restarts_survived"], status["crashes_survived"])
        assert figures == (1, crashes), status
