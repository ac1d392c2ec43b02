"""Installing, configuring, breaking, upgrading, removing.

One function, one scenario, one fresh machine.
"""

import json
import os
import re
import signal
import socket
import threading
import urllib.request

from clients import all_hear, join
from faults import hung_thread
from machine import until
from prometheus_client.parser import text_string_to_metric_families
from steps import SECRET, enable, install, journal, pid, scenario, status_text, token

NEW_SECRET = "a new secret that is long enough for everybody"


# Installing.


@scenario
def package_installs_and_enables_nothing(box):
    install(box)
    for unit in ("wschat.service", "wschat.socket"):
        assert box.run(f"systemctl is-enabled {unit}", check=False).stdout == "disabled\n"
        assert box.property(unit, "ActiveState") == "inactive"
    assert box.out("stat -c '%a %U:%G' /etc/wschat.toml") == "640 root:wschat"
    assert box.out("getent passwd wschat").endswith(":/usr/sbin/nologin")
    assert box.out("dpkg -V wschat") == "", "a file differs from the package's"
    box.run("wschat check")


@scenario
def units_are_without_fault_and_tight(box):
    install(box)
    units = "/lib/systemd/system/wschat.service /lib/systemd/system/wschat.socket"
    done = box.run(f"systemd-analyze verify --man=no {units} 2>&1")
    assert done.stdout == "", done.stdout
    box.run("systemd-analyze security --threshold=4 wschat.service")


@scenario
def first_client_starts_the_service(box):
    enable(box)
    assert box.property("wschat.service", "ActiveState") == "inactive"
    ann, bob = join(2)
    ann.say("ann", "hello")
    all_hear([ann, bob], "hello")
    assert box.property("wschat.service", "ActiveState") == "active"
    until(lambda: status_text(box).startswith("2 listeners"), "the status line tells of two")


@scenario
def guest_may_be_silent_at_first(box):
    enable(box)
    join()
    with socket.create_connection(("127.0.0.1", 8080)) as guest:
        # The kernel keeps it back, but not for long.
        filter = f"sport = :8080 and dport = :{guest.getsockname()[1]}"
        until(lambda: box.out(f"ss -Htn state established '{filter}'"), "it is let in")
        guest.sendall(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert guest.recv(12) == b"HTTP/1.1 101"


@scenario
def journal_has_structured_fields(box):
    enable(box)
    join()
    [entry] = until(lambda: journal(box, "WSCHAT_LISTENER=127.0.0.1:8080"), "an entry")
    assert entry["PRIORITY"] == "6", entry
    assert entry["MESSAGE"] == "listening on 127.0.0.1:8080", entry
    for entry in journal(box, "_SYSTEMD_UNIT=wschat.service"):
        assert "F_LISTENER" not in entry, entry


@scenario
def drop_in_opens_the_socket_to_the_world(box):
    install(box)
    box.drop_in("wschat.socket", "[Socket]\nListenStream=\nListenStream=80\n")
    box.run("systemctl enable --now wschat.socket")
    ann, bob = join(2, port=80)
    ann.say("ann", "hello")
    all_hear([ann, bob], "hello")
    assert "*:80" in box.out("ss -Hltn")


@scenario
def sandbox_leaves_listening_to_the_socket_unit(box):
    install(box)
    box.run(
        "sed 's/^\\(Requires\\|After\\)=.*//; s/^Restart=.*//'"
        " /lib/systemd/system/wschat.service >/etc/systemd/system/alone.service;"
        "systemctl daemon-reload; systemctl start alone.service",
        check=False,
    )
    said = [entry["MESSAGE"] for entry in journal(box)]
    assert any("127.0.0.1:8080" in line and "wschat.socket" in line for line in said), said


# Configuring.


@scenario
def reload_changes_the_secret_under_a_thousand_clients(box):
    enable(box, f'[auth]\njwt_secret = "{SECRET}"\n')
    crowd = join(1000)
    ann = crowd[0]
    old = token(box)
    ann.say("ann", "under the old secret", jwt=old)
    all_hear(crowd, "under the old secret")
    box.write("/etc/wschat.toml", f'[auth]\njwt_secret = "{NEW_SECRET}"\n')
    box.run("systemctl reload wschat")
    ann.say("ann", "still the old token", jwt=old)
    until(lambda: ann.errors() == ["jwt-invalid"], "the old token is refused")
    ann.say("ann", "under the new secret", jwt=token(box))
    all_hear(crowd, "under the new secret")
    assert not any(client.gone for client in crowd)
    heard = ["under the old secret", "under the new secret"]
    assert all(client.texts() == heard for client in crowd[1:])


@scenario
def bad_configuration_fails_the_reload_and_changes_nothing(box):
    enable(box)
    ann, bob = join(2)
    box.write("/etc/wschat.toml", "[auth]\nleeway_secs = 900\n")
    done = box.run("systemctl reload wschat", check=False)
    assert done.returncode != 0, "the reload succeeded"
    problem = "/etc/wschat.toml:2:15: auth.leeway_secs: 900 is out of range, 0 to 300"
    until(lambda: any(problem in entry["MESSAGE"] for entry in journal(box)), "it is logged")
    ann.say("ann", "the room goes on")
    all_hear([ann, bob], "the room goes on")
    assert box.property("wschat.service", "ActiveState") == "active"
    assert box.run("wschat reload", check=False).returncode == 78
    until(lambda: "rejected" in status_text(box), "the status line tells of it")
    box.write("/etc/wschat.toml", "")
    box.run("systemctl reload wschat")
    until(lambda: "rejected" not in status_text(box), "the status line has forgotten it")


@scenario
def control_socket_is_for_root_and_the_group(box):
    enable(box)
    join()
    box.run("useradd --groups wschat friend; useradd stranger; usermod -aG wschat friend")
    assert box.out("stat -c '%a %U:%G' /run/wschat") == "750 wschat:wschat"
    assert box.out("stat -c '%a %U:%G' /run/wschat/control.sock") == "660 wschat:wschat"
    for user in ("root", "wschat", "friend"):
        status = json.loads(box.out(f"setpriv --reuid {user} --regid {user} --init-groups wschat status --json"))
        assert status["listeners"] == 1, status
    as_stranger = "setpriv --reuid stranger --regid stranger --init-groups"
    assert box.run(f"{as_stranger} wschat status", check=False).returncode == 77
    assert "127.0.0.2:" in box.out("wschat clients")
    box.run("systemctl stop wschat.socket wschat.service")
    assert box.run("wschat status", check=False).returncode == 3


@scenario
def metrics_have_a_socket_of_their_own(box):
    install(box)
    example = "/usr/share/doc/wschat/examples/wschat-metrics.socket"
    box.run(f"cp {example} /etc/systemd/system/; systemctl daemon-reload")
    box.run("systemctl enable --now wschat.socket wschat-metrics.socket")
    ann, bob = join(2)
    ann.say("ann", "hello")
    all_hear([ann, bob], "hello")
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics") as answer:
        text = answer.read().decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    values = {sample.name: sample.value for sample in samples if not sample.labels}
    assert values["wschat_listeners"] == 2 and values["wschat_messages_total"] == 1, text
    # What is shipped to watch the room asks for metrics that there are.
    watched = box.out("cat /usr/share/doc/wschat/examples/*.json /usr/share/doc/wschat/examples/*.yml")
    assert set(re.findall(r"\bwschat_\w+", watched)) <= {sample.name for sample in samples}
    with urllib.request.urlopen("http://127.0.0.1:9464/healthz") as answer:
        assert answer.status == 200


@scenario
def plain_hangup_reloads(box):
    enable(box)
    ann, bob = join(2)
    box.write("/etc/wschat.toml", f'[auth]\njwt_secret = "{SECRET}"\n')
    box.run("systemctl kill -s HUP wschat.service")
    until(lambda: len([1 for e in journal(box) if e["MESSAGE"] == "configuration loaded"]), "loaded")
    ann.say("ann", "without a token")
    until(lambda: ann.errors() == ["jwt-missing"], "a token is asked for")
    ann.say("ann", "with one", jwt=token(box))
    all_hear([ann, bob], "with one")


@scenario
def secret_comes_as_a_credential(box):
    install(box)
    box.write("/root/secret", SECRET)
    box.drop_in("wschat.service", "[Service]\nLoadCredential=wschat.jwt_secret:/root/secret\n")
    speaks_only_with_the_secret(box)


@scenario
def secret_comes_from_the_store_of_credentials(box):
    install(box)
    box.write("/etc/credstore/wschat.jwt_secret", SECRET)
    box.run("chmod 600 /etc/credstore/wschat.jwt_secret")
    speaks_only_with_the_secret(box)


@scenario
def secret_comes_from_the_environment_file(box):
    install(box)
    box.write("/etc/default/wschat", f"JWT_SECRET='{SECRET}'\n")
    speaks_only_with_the_secret(box)


def speaks_only_with_the_secret(box):
    box.run("systemctl enable --now wschat.socket")
    ann, bob = join(2)
    ann.say("ann", "hello")
    until(lambda: ann.errors() == ["jwt-missing"], "a token is asked for")
    ann.say("ann", "hello", jwt=box.out(f"JWT_SECRET='{SECRET}' wschat token --sub ann"))
    all_hear([ann, bob], "hello")
    assert "jwt" not in bob.heard[-1]


@scenario
def messages_are_recorded_without_their_tokens(box):
    enable(box, f'[auth]\njwt_secret = "{SECRET}"\n[record]\ndir = "/var/log/wschat"\n')
    [ann] = join()
    ann.say("ann", "for the record", jwt=token(box))
    all_hear([ann], "for the record")
    day = ann.heard[0]["tim"][:10]
    read = f"cat /var/log/wschat/{day} 2>/dev/null || true"
    line = until(lambda: box.out(read), "the record has the message")
    assert json.loads(line) == ann.heard[0], line


# Breaking.


@scenario
def killed_daemon_comes_back_behind_an_open_door(box):
    enable(box)
    [ann] = join()
    refused, stop = [], threading.Event()

    def knock():
        while not stop.is_set():
            try:
                join(wait=False)[0].leave()
            except OSError as error:
                refused.append(error)

    knocker = threading.Thread(target=knock)
    knocker.start()
    os.kill(pid(box), signal.SIGKILL)
    until(lambda: ann.gone, "the old connection breaks")
    [bob] = join()
    stop.set()
    knocker.join()
    assert not refused, refused
    bob.say("bob", "back again")
    all_hear([bob], "back again")
    assert box.property("wschat.service", "NRestarts") == "1"


@scenario
def watchdog_restarts_a_daemon_with_a_hung_shard(box):
    install(box)
    box.drop_in("wschat.service", "[Service]\nWatchdogSec=3s\n")
    box.run("systemctl enable --now wschat.socket")
    [ann] = join()
    with hung_thread(pid(box), "shard-0"):
        until(lambda: ann.gone, "the watchdog ends the daemon")
    [bob] = join()
    bob.say("bob", "back again")
    all_hear([bob], "back again")
    assert "watchdog" in box.out("journalctl -b -u wschat.service").lower()


@scenario
def journal_that_stands_still_holds_up_nobody(box):
    enable(box)
    join()
    # Far more than the journal's socket and the daemon's own queue hold.
    words = "$(printf '%020000d' 0)"
    box.run("systemctl kill --signal=STOP systemd-journald.service")
    try:
        box.run(f"for i in $(seq 150); do wschat say {words} || exit 1; done")
        ann, bob = join(2)
        ann.say("ann", "nobody waits")
        all_hear([ann, bob], "nobody waits")
        box.run("wschat reload")
        box.run("systemctl restart wschat.service")
        bob.say("bob", "nor now")
        all_hear([ann, bob], "nor now")
        box.run("systemctl stop wschat.socket wschat.service")
    finally:
        box.run("systemctl kill --signal=CONT systemd-journald.service")
    until(lambda: journal(box, "WSCHAT_ACT=say"), "the log goes on")


@scenario
def fifo_as_secret_is_refused_at_a_reload(box):
    enable(box)
    [ann] = join()
    box.run("mkfifo /etc/fifo; chgrp wschat /etc/fifo; chmod 640 /etc/fifo")
    box.write("/etc/wschat.toml", "auth.jwt_secret_file = '/etc/fifo'\n")
    done = box.run("systemctl reload wschat.service", check=False)
    assert done.returncode != 0
    problem = "not a regular file"
    until(lambda: any(problem in entry["MESSAGE"] for entry in journal(box)), "it is logged")
    ann.say("ann", "still here")
    all_hear([ann], "still here")
    box.run("systemctl stop wschat.socket wschat.service")


@scenario
def broken_configuration_at_start_keeps_clients_waiting(box):
    enable(box, "[limits]\nconnections_max = 0\n")
    [ann] = join(wait=False)
    # More failures than the start limit of a unit that has one.
    until(lambda: int(box.property("wschat.service", "NRestarts")) > 6, "it tries on", 60)
    assert box.property("wschat.socket", "ActiveState") == "active"
    [bob] = join(wait=False)
    assert not (ann.gone or bob.gone)
    box.write("/etc/wschat.toml", "")
    until(lambda: ann.open and bob.open, "both are served")
    ann.say("ann", "at last")
    all_hear([ann, bob], "at last")
    assert box.property("wschat.socket", "ActiveState") == "active"


@scenario
def stop_says_goodbye(box):
    enable(box)
    crowd = join(100)
    box.run("systemctl stop wschat.socket wschat.service")
    until(lambda: all(client.gone for client in crowd), "all are gone")
    assert {client.code for client in crowd} == {1001}
    assert box.property("wschat.service", "Result") == "success"


# Upgrading and removing.


@scenario
def upgrade_restarts_the_service_and_leaves_the_socket(box):
    enable(box, '[log]\nlevel = "debug"\n')
    join()
    socket, service = (box.property(u, "InvocationID") for u in ("wschat.socket", "wschat.service"))
    install(box, revision=2)
    assert box.property("wschat.socket", "InvocationID") == socket
    assert box.property("wschat.service", "InvocationID") != service
    assert box.out("dpkg-query -Wf '${Version}' wschat").endswith("-2")
    assert "debug" in box.out("cat /etc/wschat.toml"), "the configuration was overwritten"
    assert box.out("stat -c '%a %U:%G' /etc/wschat.toml") == "640 root:wschat"
    [ann] = join()
    ann.say("ann", "hello")
    all_hear([ann], "hello")


@scenario
def upgrade_starts_nothing_that_was_stopped(box):
    install(box)
    install(box, revision=2)
    for unit in ("wschat.service", "wschat.socket"):
        assert box.property(unit, "ActiveState") == "inactive"


@scenario
def removal_stops_and_purge_forgets(box):
    enable(box)
    [ann] = join()
    box.write("/var/log/wschat/2026-01-01", "{}\n")
    box.write("/etc/default/wschat", "RUST_BACKTRACE=1\n")
    box.run("dpkg --remove wschat")
    until(lambda: ann.gone, "the client is gone")
    assert ann.code == 1001
    assert box.out("ss -Hltn sport = :8080") == ""
    assert box.out("find /etc/systemd/system -name 'wschat*'") == ""
    box.run("test -e /etc/wschat.toml && test -e /var/log/wschat/2026-01-01")
    box.run("dpkg --purge wschat")
    places = "/etc /usr /var/lib/systemd /var/log /run"
    left = box.out(f"find {places} -name '*wschat*' -not -path '/run/systemd/*' -not -path '/run/host/*'")
    assert left == "", left
    box.run("getent passwd wschat")


@scenario
def rpm_does_the_same_for_its_family(box):
    box.run("rpm --initdb; rpm --nodeps -ivh /srv/dist/wschat-*-1.*.rpm")
    assert box.out("stat -c '%a %U:%G' /etc/wschat.toml") == "640 root:wschat"
    assert box.property("wschat.socket", "ActiveState") == "inactive"
    box.write("/etc/wschat.toml", '[log]\nlevel = "debug"\n')
    box.run("systemctl enable --now wschat.socket")
    [ann] = join()
    ann.say("ann", "hello")
    all_hear([ann], "hello")
    socket, service = (box.property(u, "InvocationID") for u in ("wschat.socket", "wschat.service"))
    box.run("rpm --nodeps -Uvh /srv/dist/wschat-*-2.*.rpm")
    assert box.property("wschat.socket", "InvocationID") == socket
    assert box.property("wschat.service", "InvocationID") != service
    assert "debug" in box.out("cat /etc/wschat.toml"), "the configuration was overwritten"
    [bob] = join()
    box.run("rpm -e wschat")
    until(lambda: bob.gone, "the client is gone")
    assert box.out("ss -Hltn sport = :8080") == ""
    assert box.out("find /etc/systemd/system -name 'wschat*'") == ""
