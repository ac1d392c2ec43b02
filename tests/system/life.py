"""Installation, configuration, failures, upgrades, removal.

Each function is a scenario, and each scenario has its own machine.
"""

import json
import os
import signal
import socket
import threading

from clients import all_receive, join
from faults import hung_thread
from machine import until
from steps import SECRET, enable, install, journal, pid, scenario, status_text, token

NEW_SECRET = "a new secret that is longer than 32 bytes"


# Installation.


@scenario
def package_installs_and_enables_nothing(box):
    install(box)
    for unit in ("wschat.service", "wschat.socket", "wschat-metrics.socket"):
        assert box.run(f"systemctl is-enabled {unit}", check=False).stdout == "disabled\n"
        assert box.property(unit, "ActiveState") == "inactive"
    assert box.out("stat -c '%a %U:%G' /etc/wschat.toml") == "640 root:wschat"
    assert box.out("getent passwd wschat").endswith(":/usr/sbin/nologin")
    assert box.out("dpkg -V wschat") == "", "a file differs from the package's"
    box.run("wschat check")


@scenario
def units_are_valid_and_sandboxed(box):
    install(box)
    units = "/lib/systemd/system/wschat.service /lib/systemd/system/wschat*.socket"
    done = box.run(f"systemd-analyze verify --man=no {units} 2>&1")
    assert done.stdout == "", done.stdout
    box.run("systemd-analyze security --threshold=4 wschat.service")


@scenario
def first_client_starts_the_service(box):
    enable(box)
    assert box.property("wschat.service", "ActiveState") == "inactive"
    ann, bob = join(2)
    ann.say("ann", "hello")
    all_receive([ann, bob], "hello")
    assert box.property("wschat.service", "ActiveState") == "active"
    until(lambda: status_text(box).startswith("2 listeners"), "the status line counts two")


@scenario
def connection_without_data_is_accepted(box):
    enable(box)
    join()
    with socket.create_connection(("127.0.0.1", 8080)) as connection:
        # The kernel holds it back for up to one second.
        filter = f"sport = :8080 and dport = :{connection.getsockname()[1]}"
        until(lambda: box.out(f"ss -Htn state established '{filter}'"), "it is accepted")
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 101"


@scenario
def journal_has_structured_fields(box):
    enable(box)
    join()
    [entry] = until(lambda: journal(box, "WSCHAT_LISTENER=127.0.0.1:8080"), "an entry")
    assert entry["PRIORITY"] == "6", entry
    assert entry["MESSAGE"].endswith(", listening on 127.0.0.1:8080"), entry
    for entry in journal(box, "_SYSTEMD_UNIT=wschat.service"):
        assert "F_LISTENER" not in entry, entry


@scenario
def drop_in_changes_the_listening_address(box):
    install(box)
    box.drop_in("wschat.socket", "[Socket]\nListenStream=\nListenStream=80\n")
    box.run("systemctl enable --now wschat.socket")
    ann, bob = join(2, port=80)
    ann.say("ann", "hello")
    all_receive([ann, bob], "hello")
    assert "*:80" in box.out("ss -Hltn")


@scenario
def service_without_its_socket_unit_cannot_listen(box):
    install(box)
    box.run(
        "sed 's/^\\(Wants\\|PartOf\\|After\\)=.*//; s/^Restart=.*//'"
        " /lib/systemd/system/wschat.service >/etc/systemd/system/alone.service;"
        "systemctl daemon-reload; systemctl start alone.service",
        check=False,
    )
    said = lambda: [entry["MESSAGE"] for entry in journal(box)]
    is_named = lambda line: "127.0.0.1:8080" in line and "wschat.socket" in line
    until(lambda: any(map(is_named, said())), "the error names the socket unit")


# Configuration.


@scenario
def reload_changes_the_secret_under_a_thousand_clients(box):
    enable(box, f'[auth]\njwt_secret = "{SECRET}"\n')
    clients = join(1000)
    ann = clients[0]
    old = token(box)
    ann.say("ann", "under the old secret", jwt=old)
    all_receive(clients, "under the old secret")
    box.write("/etc/wschat.toml", f'[auth]\njwt_secret = "{NEW_SECRET}"\n')
    box.run("systemctl reload wschat")
    ann.say("ann", "still the old token", jwt=old)
    until(lambda: ann.errors() == ["jwt-invalid"], "the old token is refused")
    ann.say("ann", "under the new secret", jwt=token(box))
    all_receive(clients, "under the new secret")
    assert not any(client.closed for client in clients)
    received = ["under the old secret", "under the new secret"]
    assert all(client.texts() == received for client in clients[1:])


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
    all_receive([ann, bob], "the room goes on")
    assert box.property("wschat.service", "ActiveState") == "active"
    assert box.run("wschat reload", check=False).returncode == 78
    until(lambda: "rejected" in status_text(box), "the status line reports it")
    box.write("/etc/wschat.toml", "")
    box.run("systemctl reload wschat")
    until(lambda: "rejected" not in status_text(box), "the status line does not report it any more")


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
def sighup_reloads(box):
    enable(box)
    ann, bob = join(2)
    box.write("/etc/wschat.toml", f'[auth]\njwt_secret = "{SECRET}"\n')
    box.run("systemctl kill -s HUP wschat.service")
    until(lambda: len([1 for e in journal(box) if e["MESSAGE"] == "configuration loaded"]), "loaded")
    ann.say("ann", "without a token")
    until(lambda: ann.errors() == ["jwt-missing"], "a token is required")
    ann.say("ann", "with one", jwt=token(box))
    all_receive([ann, bob], "with one")


@scenario
def secret_from_a_credential(box):
    install(box)
    box.write("/root/secret", SECRET)
    box.drop_in("wschat.service", "[Service]\nLoadCredential=wschat.jwt_secret:/root/secret\n")
    needs_a_token_of_the_secret(box)


@scenario
def secret_from_the_credential_store(box):
    install(box)
    box.write("/etc/credstore/wschat.jwt_secret", SECRET)
    box.run("chmod 600 /etc/credstore/wschat.jwt_secret")
    needs_a_token_of_the_secret(box)


@scenario
def secret_from_the_environment_file(box):
    install(box)
    box.write("/etc/default/wschat", f"JWT_SECRET='{SECRET}'\n")
    needs_a_token_of_the_secret(box)


def needs_a_token_of_the_secret(box):
    box.run("systemctl enable --now wschat.socket")
    ann, bob = join(2)
    ann.say("ann", "hello")
    until(lambda: ann.errors() == ["jwt-missing"], "a token is required")
    ann.say("ann", "hello", jwt=box.out(f"JWT_SECRET='{SECRET}' wschat token --sub ann"))
    all_receive([ann, bob], "hello")
    assert "jwt" not in bob.received[-1]


@scenario
def lost_key_keeps_the_room_closed(box):
    install(box)
    box.write("/etc/credstore/wschat.jwt_secret", SECRET)
    needs_a_token_of_the_secret(box)
    [ann] = join()
    box.run("rm /etc/credstore/wschat.jwt_secret /etc/wschat.toml; systemctl restart wschat")
    ann.say("ann", "is it open?")
    until(lambda: ann.errors() == ["jwt-missing"], "nobody can send messages")
    until(lambda: status_text(box).startswith("no key: "), "the status line says so")
    assert "nobody can send messages" in box.out("wschat status")
    assert box.run("systemctl reload wschat", check=False).returncode != 0
    box.run("systemctl stop wschat.socket wschat.service; systemctl start wschat.socket")
    [ann] = join()
    ann.say("ann", "is it open now?")
    until(lambda: ann.errors() == ["jwt-missing"], "it is not forgotten")
    box.write("/etc/wschat.toml", "auth.required = false\n")
    box.run("systemctl reload wschat")
    ann.say("ann", "the operator has opened it")
    all_receive([ann], "the operator has opened it")


@scenario
def messages_are_recorded_without_tokens(box):
    enable(box, f'[auth]\njwt_secret = "{SECRET}"\n[record]\ndir = "/var/log/wschat"\n')
    [ann] = join()
    ann.say("ann", "for the record", jwt=token(box))
    all_receive([ann], "for the record")
    day = ann.received[0]["tim"][:10]
    read = f"cat /var/log/wschat/{day} 2>/dev/null || true"
    line = until(lambda: box.out(read), "the record has the message")
    assert json.loads(line) == ann.received[0], line


# Failures.


@scenario
def no_connection_is_refused_while_a_killed_daemon_restarts(box):
    enable(box)
    [ann] = join()
    refused, stop = [], threading.Event()

    def connect_repeatedly():
        while not stop.is_set():
            try:
                join(wait=False)[0].abort()
            except OSError as error:
                refused.append(error)

    connecting = threading.Thread(target=connect_repeatedly)
    connecting.start()
    os.kill(pid(box), signal.SIGKILL)
    until(lambda: ann.closed, "the old connection is closed")
    [bob] = join()
    stop.set()
    connecting.join()
    assert not refused, refused
    bob.say("bob", "back again")
    all_receive([bob], "back again")
    assert box.property("wschat.service", "NRestarts") == "1"


@scenario
def watchdog_restarts_a_daemon_with_a_hung_shard(box):
    install(box)
    box.drop_in("wschat.service", "[Service]\nWatchdogSec=3s\n")
    box.run("systemctl enable --now wschat.socket")
    [ann] = join()
    with hung_thread(pid(box), "shard-0"):
        until(lambda: ann.closed, "the watchdog ends the daemon")
    [bob] = join()
    bob.say("bob", "back again")
    all_receive([bob], "back again")
    until(lambda: "watchdog" in box.out("journalctl -b -u wschat.service").lower(), "it is logged")


@scenario
def blocked_journal_delays_no_client(box):
    enable(box)
    join()
    # Far more than the socket of the journal and the queue of the daemon can hold.
    words = "$(printf '%020000d' 0)"
    box.run("systemctl kill --signal=STOP systemd-journald.service")
    try:
        box.run(f"for i in $(seq 150); do wschat say {words} || exit 1; done")
        ann, bob = join(2)
        ann.say("ann", "no delay")
        all_receive([ann, bob], "no delay")
        box.run("wschat reload")
        box.run("systemctl restart wschat.service")
        bob.say("bob", "no delay after the restart")
        all_receive([ann, bob], "no delay after the restart")
        box.run("systemctl stop wschat.socket wschat.service")
    finally:
        box.run("systemctl kill --signal=CONT systemd-journald.service")
    until(lambda: journal(box, "WSCHAT_ACT=say"), "the log continues")


@scenario
def fifo_as_secret_fails_the_reload(box):
    enable(box)
    [ann] = join()
    box.run("mkfifo /etc/fifo; chgrp wschat /etc/fifo; chmod 640 /etc/fifo")
    box.write("/etc/wschat.toml", "auth.jwt_secret_file = '/etc/fifo'\n")
    done = box.run("systemctl reload wschat.service", check=False)
    assert done.returncode != 0
    problem = "not a regular file"
    until(lambda: any(problem in entry["MESSAGE"] for entry in journal(box)), "it is logged")
    ann.say("ann", "still here")
    all_receive([ann], "still here")
    box.run("systemctl stop wschat.socket wschat.service")


@scenario
def broken_configuration_at_start_keeps_clients_waiting(box):
    enable(box, "[limits]\nconnections_max = 0\n")
    [ann] = join(wait=False)
    # More failures than the default start limit of systemd.
    until(lambda: int(box.property("wschat.service", "NRestarts")) > 6, "systemd tries again", 60)
    assert box.property("wschat.socket", "ActiveState") == "active"
    [bob] = join(wait=False)
    assert not (ann.closed or bob.closed)
    box.write("/etc/wschat.toml", "")
    until(lambda: ann.open and bob.open, "both are served")
    ann.say("ann", "at last")
    all_receive([ann, bob], "at last")
    assert box.property("wschat.socket", "ActiveState") == "active"


@scenario
def stop_closes_with_1001(box):
    enable(box)
    clients = join(100)
    box.run("systemctl stop wschat.socket wschat.service")
    until(lambda: all(client.closed for client in clients), "all are closed")
    assert {client.code for client in clients} == {1001}
    assert box.property("wschat.service", "Result") == "success"


# Upgrades and removal.


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
    all_receive([ann], "hello")


@scenario
def upgrade_starts_nothing_that_was_stopped(box):
    install(box)
    install(box, revision=2)
    for unit in ("wschat.service", "wschat.socket", "wschat-metrics.socket"):
        assert box.property(unit, "ActiveState") == "inactive"


@scenario
def removal_stops_and_purge_leaves_the_record(box):
    enable(box)
    [ann] = join()
    box.write("/var/log/wschat/2026-01-01", "{}\n")
    box.write("/etc/default/wschat", "RUST_BACKTRACE=1\n")
    box.run("dpkg --remove wschat")
    until(lambda: ann.closed, "the client is closed")
    assert ann.code == 1001
    assert box.out("ss -Hltn sport = :8080") == ""
    assert box.out("find /etc/systemd/system -name 'wschat*'") == ""
    box.run("test -e /etc/wschat.toml && test -e /var/log/wschat/2026-01-01")
    said = box.out("dpkg --purge wschat")
    assert "/var/log/wschat, the record of messages, stays" in said, said
    assert box.out("find /var/log/wschat") == "/var/log/wschat\n/var/log/wschat/2026-01-01"
    box.run("rm -r /var/log/wschat")
    folders = "/etc /usr /var/lib /var/log /run"
    left = box.out(f"find {folders} -name '*wschat*' -not -path '/run/systemd/*' -not -path '/run/host/*'")
    assert left == "", left
    box.run("getent passwd wschat")
    # Without a record, a purge says nothing.
    enable(box)
    join()
    said = box.out("dpkg --purge wschat")
    assert "record" not in said, said
    assert box.out("find /var/log -name '*wschat*'") == ""


@scenario
def rpm_installs_upgrades_and_removes(box):
    box.run("rpm --initdb; rpm --nodeps -ivh /srv/dist/wschat-*-1.*.rpm")
    assert box.out("stat -c '%a %U:%G' /etc/wschat.toml") == "640 root:wschat"
    assert box.property("wschat.socket", "ActiveState") == "inactive"
    box.write("/etc/wschat.toml", '[log]\nlevel = "debug"\n')
    box.run("systemctl enable --now wschat.socket")
    [ann] = join()
    ann.say("ann", "hello")
    all_receive([ann], "hello")
    socket, service = (box.property(u, "InvocationID") for u in ("wschat.socket", "wschat.service"))
    box.run("rpm --nodeps -Uvh /srv/dist/wschat-*-2.*.rpm")
    assert box.property("wschat.socket", "InvocationID") == socket
    assert box.property("wschat.service", "InvocationID") != service
    assert "debug" in box.out("cat /etc/wschat.toml"), "the configuration was overwritten"
    [bob] = join()
    box.run("rpm -e wschat")
    until(lambda: bob.closed, "the client is closed")
    assert box.out("ss -Hltn sport = :8080") == ""
    assert box.out("find /etc/systemd/system -name 'wschat*'") == ""
