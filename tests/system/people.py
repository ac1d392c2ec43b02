"""What operators do to the units, and what they are told."""

import socket
import threading

from clients import all_receive, join
from machine import until
from steps import enable, journal, scenario, status_text

PORT_80 = "[Socket]\nListenStream=\nListenStream=80\n"
COMMAND = "systemctl restart wschat.socket"


def ports(box):
    """The addresses where somebody listens."""
    return {line.split()[3] for line in box.out("ss -Hltn").splitlines()}


def edit(box, text=PORT_80):
    """As systemctl edit wschat.socket."""
    box.drop_in("wschat.socket", text)


def all_talk(*clients):
    """Checks that all of these are in one room."""
    for number, client in enumerate(clients):
        client.say("ann", f"hello from {number}")
        all_receive(clients, f"hello from {number}")


# The port of the room.


@scenario
def changed_port_and_any_restart_keep_the_room(box):
    enable(box)
    clients = join(2)
    edit(box)
    box.run("systemctl restart wschat; systemctl daemon-reexec; systemctl restart wschat")
    assert ports(box) == {"127.0.0.1:8080"}
    assert COMMAND in status_text(box) and COMMAND in box.out("wschat status"), status_text(box)
    assert any(COMMAND in entry["MESSAGE"] for entry in journal(box, "PRIORITY=4"))
    clients += join()
    box.run(COMMAND)
    until(lambda: ports(box) == {"*:80"}, "the old port is closed")
    until(lambda: COMMAND not in status_text(box), "all is well")
    clients += join(port=80)
    all_talk(*clients)

    # The new port is in use, and then the old one is wanted again.
    edit(box, "[Socket]\nListenStream=\nListenStream=127.0.0.1:8081\n")
    with socket.create_server(("127.0.0.1", 8081)):
        assert box.run(COMMAND, check=False).returncode
        clients += join(port=80)
        assert COMMAND in status_text(box)
    box.run("rm -r /etc/systemd/system/wschat.socket.d; systemctl daemon-reload")
    box.run("systemctl restart wschat.service wschat.socket")
    until(lambda: ports(box) == {"127.0.0.1:8080"}, "the old port is closed")
    all_talk(*clients, *join())


@scenario
def restarts_of_the_socket_unit_refuse_nobody(box):
    enable(box)
    clients = join(2)
    ended, refused, served = threading.Event(), [], []

    def connect():
        while not ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", 8080)) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                    answer = client.recv(15)
            except OSError as error:
                answer = error
            (served if answer == b"HTTP/1.1 200 OK" else refused).append(answer)

    threads = [threading.Thread(target=connect) for _ in range(4)]
    [thread.start() for thread in threads]
    for _ in range(6):
        box.run(COMMAND)
    ended.set()
    [thread.join() for thread in threads]
    assert served and not refused, (len(served), refused)
    all_talk(*clients)


@scenario
def service_without_a_socket_names_the_command(box):
    enable(box)
    join()
    edit(box)
    box.run("systemctl stop wschat")
    assert box.run("systemctl start wschat", check=False).returncode
    assert box.property("wschat.service", "ExecMainStatus") == "77"
    until(lambda: any(COMMAND in entry["MESSAGE"] for entry in journal(box)), "the message")
    box.run(COMMAND)
    all_talk(*join(2, port=80))


# Who did what.


@scenario
def audit_names_the_operator(box):
    enable(box)
    join()
    box.run("useradd --groups wschat ann")
    uid = {name: box.out(f"id -u {name}") for name in ("ann", "wschat")}
    box.run("wschat slow 1")
    for name in uid:
        box.run(f"setpriv --reuid {name} --regid {name} --init-groups wschat slow {uid[name]}")
    box.run("setpriv --reuid 4711 --regid wschat --clear-groups wschat slow 2")
    box.run("wschat kick nobody; wschat unlock; wschat unmute eve; wschat retract 2040-01-01T00:00:00.000000000Z", check=False)
    entries = lambda field: [entry for entry in journal(box) if field in entry]
    names = ["root (uid 0)", *(f"{name} (uid {uid[name]})" for name in uid), "uid 4711"]
    until(lambda: [entry["WSCHAT_BY"] for entry in entries("WSCHAT_ACT")] == names, "four lines")
    asked = until(lambda: len(entries("WSCHAT_ASKED")) == 4 and entries("WSCHAT_ASKED"), "four more lines")
    assert [entry["MESSAGE"] for entry in asked] == [
        'root (uid 0) asked for kick, but "nobody" is not connected here',
        "root (uid 0) asked for unlock, but the room is not locked",
        'root (uid 0) asked for unmute of "eve", but this user or address is not muted',
        "root (uid 0) asked for retract, but the room has sent no message with this tim",
    ], asked


# Who may look.


@scenario
def members_of_wschat_monitor_only_read(box):
    enable(box)
    join()
    box.run("useradd --groups wschat-monitor watcher; useradd stranger; useradd --groups wschat friend")
    stat = "stat -c '%a %U:%G' /run/wschat-monitor /run/wschat-monitor/control.sock"
    assert box.out(stat) == "2750 wschat:wschat-monitor\n660 wschat:wschat-monitor", box.out(stat)

    def as_user(user, command):
        done = box.run(f"setpriv --reuid {user} --regid {user} --init-groups {command}", check=False)
        return done.returncode, done.stdout + done.stderr

    reads = ["wschat status", "wschat clients", "wschat top", "wschat mutes", "wschat metrics"]
    acts = ["wschat lock", "wschat say hi", "wschat kick ann", "wschat reload"]
    for command in reads:
        assert as_user("watcher", command)[0] == 0, as_user("watcher", command)
        assert as_user("stranger", command)[0] == 77, command
    for command in acts:
        code, said = as_user("watcher", command)
        assert code == 77 and "wschat-monitor may only read" in said, (command, code, said)
        assert as_user("stranger", command)[0] == 77, command
    for secret in ("wschat token --sub ann", "wschat config", "cat /etc/wschat.toml"):
        assert as_user("watcher", secret)[0], secret
    assert as_user("friend", "wschat say hi")[0] == 0
    # It is there again after a restart, a crash and a boot, and says when nobody is.
    box.run("systemctl restart wschat")
    assert as_user("watcher", "wschat status")[0] == 0
    box.run("systemctl kill -s KILL wschat.service")
    until(lambda: as_user("watcher", "wschat status")[0] == 0, "the next process")
    box.run("systemctl stop wschat.socket wschat.service")
    assert as_user("watcher", "wschat status")[0] == 3
    assert as_user("stranger", "wschat status")[0] == 3
    assert not [entry for entry in journal(box, "PRIORITY=4") if "monitoring" in entry["MESSAGE"]]
