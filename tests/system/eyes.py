"""`wschat check` sees what the service will see, and whatever restarts the service asks it first."""

import json
import socket

from clients import all_receive, join
from machine import until
from steps import SECRET, enable, install, journal, pid, scenario, token

NEW_SECRET = "a new secret that is longer than 32 bytes"
CREDENTIAL = "/etc/credstore/wschat.jwt_secret"
SERVICE = "/etc/systemd/system/wschat.service.d/test.conf"
SOCKET = "/etc/systemd/system/wschat.socket.d/test.conf"
LOST = "auth.required: there is no secret and no key any more"


def config(text):
    """The file of the configuration has this content."""
    return f"cat >/etc/wschat.toml <<'END'\n{text}\nEND"


def drop_in(path, text):
    """A drop-in of a unit has these lines."""
    section = "Service" if path == SERVICE else "Socket"
    return f"mkdir -p {path.rsplit('/', 1)[0]}; printf '[{section}]\\n{text}\\n' >{path}; systemctl daemon-reload"


# How to break it, and what check has to name.
BROKEN = [
    (config("[limits\nconnections_max = 5"), "/etc/wschat.toml:1:8: unclosed table"),
    (config("[log]\nlevel = 'info'\nlevel = 'warn'"), "3:1: log.level: duplicate key, first on line 2"),
    ("chown root:root /etc/wschat.toml", "/etc/wschat.toml: Permission denied"),
    (
        f"echo {SECRET} >/etc/broken; chmod 600 /etc/broken;" + config("auth.jwt_secret_file = '/etc/broken'"),
        "1:24: auth.jwt_secret_file: the file cannot be read: Permission denied",
    ),
    (
        f"echo {SECRET} >/root/broken; chmod 644 /root/broken;" + config("auth.jwt_secret_file = '/root/broken'"),
        "auth.jwt_secret_file: the file cannot be read: Permission denied",
    ),
    (
        f"echo {SECRET} >/tmp/broken; chmod 644 /tmp/broken;" + config("auth.jwt_secret_file = '/tmp/broken'"),
        "auth.jwt_secret_file: the file cannot be read: No such file",
    ),
    (
        "echo '{}' >/etc/broken; chmod 600 /etc/broken;" + config("auth.keys = [{ file = '/etc/broken' }]"),
        "auth.keys.file: the file cannot be read: Permission denied",
    ),
    (
        "mkdir -p /home/broken; touch /home/broken/revoked;" + config("auth.revoked_file = '/home/broken/revoked'"),
        "auth.revoked_file: the file cannot be read",
    ),
    (
        "mkdir -p /srv/broken; chmod 777 /srv/broken;" + config("record.dir = '/srv/broken'"),
        "1:14: record.dir: no message would be recorded: Read-only file system",
    ),
    (
        "touch /var/log/wschat/$(date -u +%F);" + config("record.dir = '/var/log/wschat'"),
        "record.dir: no message would be recorded: /var/log/wschat/",
    ),
    (config("metrics.address = '127.0.0.1:9464'"), "metrics.address: in this sandbox only wschat-metrics.socket"),
    (config("metrics.address = 'unix:/run/broken'"), "metrics.address: unix:/run/broken: Permission denied"),
    (config("listen.addresses = ['0.0.0.0:80']"), "listen.addresses: 0.0.0.0:80 has no effect"),
    (config("cluster.servers = ['nats://127.0.0.1:4222']"), "cluster.servers: no server can be reached"),
    (f"rm {CREDENTIAL}", LOST),
    (f"echo >{CREDENTIAL}", "credential wschat.jwt_secret: "),
    (f"rm {CREDENTIAL}; echo 'export JWT_SECRET={SECRET}' >/etc/default/wschat", LOST),
    (drop_in(SERVICE, "LoadCredential="), LOST),
    (drop_in(SERVICE, "LoadCredential=wschat.jwt_secret:/etc/broken"), "wschat.service: systemd cannot start"),
    (
        f"echo {SECRET} >/etc/broken;" + drop_in(SERVICE, "LoadCredentialEncrypted=wschat.jwt_secret:/etc/broken"),
        "a credential is missing or cannot be decrypted",
    ),
    (drop_in(SERVICE, "EnvironmentFile=/etc/broken"), "a file of EnvironmentFile= is missing"),
    (drop_in(SERVICE, "User=broken"), "User=: there is no such user"),
    (drop_in(SERVICE, "ReadWritePaths=/srv/nowhere"), "a path in ReadWritePaths="),
    (drop_in(SERVICE, "ReadOnlyPaths=/var/lib/wschat"), "/var/lib/wschat: mutes and the lock would be lost"),
    (drop_in(SERVICE, "LimitNOFILE=40"), "LimitNOFILE=40 leaves no descriptor for a client"),
    (drop_in(SERVICE, "TasksMax=10"), "server.threads: "),
    (drop_in(SERVICE, "ExecStart=\\nExecStart=/usr/bin/wschat serve --lisen a"), "ExecStart=: unexpected argument"),
    (drop_in(SERVICE, "ExecStart=\\nExecStart=/usr/bin/broken serve"), "ExecStart=: there is no program /usr/bin/broken"),
    (drop_in(SERVICE, "ExecStart=/bin/true"), "wschat.service: systemd cannot load it (bad-setting)"),
    (
        drop_in(SERVICE, "ExecStart=\\nExecStart=/usr/bin/wschat serve --listen 127.0.0.1:81"),
        "--listen: systemd passes sockets",
    ),
    ("echo rubbish >/var/lib/wschat/moderation.json", "/var/lib/wschat/moderation.json: "),
    (drop_in(SOCKET, "ListenStream=\\nListenStream=80"), "wschat.socket: it has changed and does not listen at [::]:80"),
    (
        drop_in(SOCKET, "ListenStream=\\nListenStream=127.0.0.1:82"),
        "wschat.socket: another program listens at 127.0.0.1:82",
    ),
    (drop_in(SOCKET, "FileDescriptorName=web"), 'wschat.socket: the service ignores its sockets, which are named "web"'),
    (drop_in(SERVICE, "[Unit]\\nConditionPathExists=/srv/nowhere"), "a condition is false: ConditionPathExists=/srv/nowhere"),
    (drop_in(SERVICE, "[Unit]\\nAssertPathExists=/srv/nowhere"), "a condition is false: AssertPathExists=/srv/nowhere"),
    (drop_in(SERVICE, "[Unit]\\nRequires=nowhere.service"), "it requires nowhere.service, which is not-found"),
    (drop_in(SERVICE, "ExecCondition=+/bin/false"), "a condition is false: ExecCondition=+/bin/false"),
    (drop_in(SERVICE, "ExecStartPre=/bin/sh -c true"), "ExecStartPre=/bin/sh: Permission denied"),
    (drop_in(SERVICE, "ExecStartPost=/srv/nowhere"), "ExecStartPost=/srv/nowhere: No such file"),
    (drop_in(SERVICE, "SystemCallFilter=~accept4"), "SystemCallFilter= forbids accept4(2)"),
    (drop_in(SERVICE, "Type=forking"), "Type=forking: "),
    (drop_in(SERVICE, "StateDirectoryMode=0500"), "StateDirectoryMode=0500: the service could not use it"),
    (drop_in(SERVICE, "PrivateNetwork=no\\nNetworkNamespacePath=/run/nowhere"), "status 225, see systemd.exec(5)"),
    (drop_in(SERVICE, "# \\374\\nReadWritePaths=/srv/nowhere"), "a path in ReadWritePaths="),
    # A start takes the units as systemd has read them.
    (
        drop_in(SERVICE, "ReadWritePaths=/srv/nowhere") + f"; printf '[Service]\\nNice=1\\n' >{SERVICE}",
        "wschat.service: its files have changed; run 'systemctl daemon-reload'",
    ),
    (drop_in(SOCKET, "ListenStream=\\nListenStream=82"), "wschat.socket: another program listens at [::]:82"),
    (
        drop_in(SOCKET, "ListenStream=\\nListenStream=192.0.2.7:80"),
        "wschat.socket: this machine cannot listen at 192.0.2.7:80: Cannot assign",
    ),
    (drop_in(SOCKET, "ListenStream=vsock::84"), "wschat.socket: the service cannot use vsock::84"),
    (drop_in(SOCKET, "Service=broken.service"), "wschat.socket: its sockets are for broken.service"),
    (
        "printf '[Socket]\\nListenStream=127.0.0.1:83\\nService=wschat.service\\n' >/run/systemd/system/broken.socket;"
        + drop_in(SERVICE, "[Unit]\\nWants=broken.socket"),
        "broken.socket: the service ignores its sockets",
    ),
]

# Puts back what one of them has changed.
MEND = f"""
rm -rf {SERVICE} {SOCKET} /etc/default/wschat /run/systemd/system/broken.socket /etc/broken
rm -rf /home/broken /srv/broken /root/broken /tmp/broken /var/log/wschat/* /var/lib/wschat/moderation.json
: >/etc/wschat.toml; chown root:wschat /etc/wschat.toml
echo '{SECRET}' >{CREDENTIAL}; chmod 600 {CREDENTIAL}
"""
# What an upgrade does for the service, without what debhelper has added.
POSTINST = "/var/lib/dpkg/info/wschat.postinst"
UPGRADE = f"sed '1,/^# End auto/d; /^# Auto/,/^# End auto/d' {POSTINST} | sh -es configure 0.3.0-0 2>&1"


def fails(box, command, want):
    """Checks that a command names the problem, and that nothing of the copy of the unit stays."""
    done = box.run(command, check=False)
    assert done.returncode in (66, 78) and want in done.stderr, (command, want, done)
    assert box.out("ls /run/systemd/system /run | grep wschat-check; true") == ""


@scenario
def check_names_what_a_start_would_meet(box):
    install(box)
    box.run(f"mkdir -p /etc/credstore; {MEND}")
    box.run("systemctl enable --now wschat.socket")
    clients = join(3)
    before = pid(box)
    with socket.create_server(("127.0.0.1", 82)):
        for number, (how, want) in enumerate(BROKEN):
            box.run(how)
            if number % 10 == 0 or "daemon-reload" in want:
                fails(box, "wschat check", want)
                fails(box, "wschat reload", want)
            else:
                upgraded = box.out(UPGRADE)
                assert want in upgraded and "not restarted" in upgraded, (how, upgraded)
            assert pid(box) == before, how
            box.run(MEND)
            if SOCKET in how:
                box.run("systemctl daemon-reload; systemctl restart wschat.socket")
                before = pid(box)
            elif SERVICE in how:
                box.run("systemctl daemon-reload")
    assert box.out("wschat check 2>&1") == ""
    clients[0].say("ann", "still here", jwt=token(box))
    all_receive(clients, "still here")
    box.run("systemctl reload wschat")
    assert box.out(UPGRADE) == ""
    assert pid(box) != before


@scenario
def check_survives_whatever_the_service_does(box):
    """The copy of the unit changes nothing, whether the service runs or not."""
    enable(box)
    assert box.out("wschat check 2>&1") == ""
    assert box.property("wschat.service", "ActiveState") == "inactive"
    [ann] = join()
    box.run("for i in 1 2 3 4; do wschat check & done; wait; wschat reload; wschat status")
    box.drop_in("wschat.service", "[Service]\nRuntimeDirectory=wschat extra\nSlice=chat.slice\nType=notify\n")
    assert box.out("wschat check 2>&1") == ""
    box.run("systemctl restart wschat")
    ann.say("ann", "still here")
    all_receive([ann], "still here")
    assert box.out("systemctl list-units --all --no-legend 'wschat-check*'") == ""
    # Directories stay whose they are: the process that runs needs them.
    stat = "stat -c '%n %a %U:%G' /run/wschat /run/wschat/* /var/lib/wschat /var/log/wschat"
    before = box.out(stat)
    for lines in ("User=daemon", "DynamicUser=yes", "StateDirectoryMode=0755"):
        box.drop_in("wschat.service", f"[Service]\n{lines}\n")
        assert box.out("wschat check 2>&1") == "", lines
        assert box.out(stat) == before, lines
    # Variables, quotes, other encodings, and drop-ins of all services.
    box.write("/etc/default/wschat", "OPTIONS='--threads 1'\nFILE=/etc/wschat.toml\n")
    box.write("/etc/systemd/system/service.d/all.conf", "[Service]\nRestart=always\nStandardError=journal\n")
    box.run("cp -p /etc/wschat.toml '/etc/a file.toml'")
    for options in ("$OPTIONS --config ${FILE}", '--config "/etc/a file.toml"'):
        box.drop_in("wschat.service", f"[Service]\nExecStart=\nExecStart=@/usr/bin/wschat chat serve {options}\n")
        box.run(f"printf '# \\374\\n' >>{SERVICE}; systemctl daemon-reload")
        assert box.out("wschat check 2>&1") == "", options
        box.run("systemctl restart wschat; wschat reload")
    ann.say("ann", "here, too")
    all_receive([ann], "here, too")
    box.run("rm -r /etc/default/wschat /etc/systemd/system/*.service.d /etc/systemd/system/service.d; systemctl daemon-reload")
    # What cannot be looked at is said in one line.
    box.run("useradd --groups wschat op; useradd other")
    for user, group, code in (("op", "wschat", 0), ("other", "other", 66)):
        done = box.run(f"setpriv --reuid {user} --regid {group} --clear-groups wschat check", check=False)
        assert done.returncode == code, done
        assert done.stderr.splitlines()[0] == "wschat: wschat.service was not looked at: only root can", done
    box.write("/root/other.toml", "record.dir = '/root'\n")
    assert box.out("wschat check --config /root/other.toml 2>&1") == "", "another file is another room's"
    box.run("systemctl mask --runtime wschat.socket")
    assert "wschat.socket: it is masked" in box.run("wschat check", check=False).stderr
    # Who has a socket unit of his own masks the other one.
    own = "[Socket]\nListenStream=127.0.0.1:84\nService=wschat.service\nFileDescriptorName=wschat\n"
    box.write("/etc/systemd/system/own.socket", own)
    box.run("systemctl stop wschat.socket wschat; systemctl daemon-reload; systemctl start own.socket wschat")
    assert box.out("wschat check 2>&1") == ""


@scenario
def failed_check_keeps_an_upgrade_from_restarting(box):
    enable(box)
    clients = join(20)
    before = pid(box)
    box.write("/etc/wschat.toml", "[record]\ndir = '/srv/nowhere'\n")
    printed = install(box, revision=2)
    assert "record.dir: no message would be recorded" in printed, printed
    assert "the old process goes on" in printed, printed
    assert box.out("dpkg-query -Wf '${Version} ${Status}' wschat").endswith("-2 install ok installed")
    assert pid(box) == before
    clients[0].say("ann", "still here")
    all_receive(clients, "still here")
    box.write("/etc/wschat.toml", "")
    box.run("wschat check && systemctl restart wschat")
    assert pid(box) != before
    clients[0].say("ann", "still here after it")
    all_receive(clients, "still here after it")
    # The scriptlet of the rpm is the same.
    script = box.out("rpm -qp --scripts /srv/dist/wschat-*-2.*.rpm").split("posttrans scriptlet")[1]
    box.write("/root/posttrans", script.split("\n", 1)[1])
    before = pid(box)
    box.write("/etc/wschat.toml", "[record]\ndir = '/srv/nowhere'\n")
    assert "the old process goes on" in box.out("sh -e /root/posttrans 2>&1")
    assert pid(box) == before
    box.write("/etc/wschat.toml", "")
    assert box.out("sh -e /root/posttrans 2>&1") == ""
    assert pid(box) != before


# Credentials.


@scenario
def commands_find_the_credential_of_the_unit(box):
    install(box)
    shown = 'auth.jwt_secret = set  # credential wschat.jwt_secret'
    box.run("mkdir -p /etc/credstore /etc/credstore.encrypted")
    ways = [
        (f"echo '{SECRET}' >{CREDENTIAL}", ""),
        ("echo '%s' >/root/secret" % SECRET, "LoadCredential=wschat.jwt_secret:/root/secret"),
        ("true", f"SetCredential=wschat.jwt_secret:{SECRET}"),
        (
            f"echo '{SECRET}' | systemd-creds encrypt --with-key=host --name=wschat.jwt_secret - /root/encrypted",
            "LoadCredential=\nLoadCredentialEncrypted=wschat.jwt_secret:/root/encrypted",
        ),
    ]
    for prepare, lines in ways:
        box.run(f"rm -f {CREDENTIAL}; {prepare}")
        box.drop_in("wschat.service", f"[Service]\n{lines}\n")
        for state in ("stop", "restart"):
            box.run(f"systemctl {state} wschat.socket wschat.service")
            assert shown in box.out("wschat config"), (lines, state)
            made = box.out("wschat token --sub 'a b' --claim 'x=\"5% $HOME\"'")
            assert made.count(".") == 2 and "\n" not in made, (lines, state)
        [ann] = join()
        ann.say("ann", lines, jwt=made)
        all_receive([ann], lines)
        ann.abort()
    box.write("/etc/default/wschat", f"JWT_SECRET='{NEW_SECRET}'\n")
    box.run(f"rm {SERVICE}; systemctl daemon-reload")
    box.run("systemctl restart wschat")
    assert "environment variable JWT_SECRET" in box.out("wschat config | grep ^auth.jwt_secret")
    [ann] = join()
    ann.say("ann", "hello", jwt=token(box))
    all_receive([ann], "hello")
    secrets = box.out("journalctl -b -o cat; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'")
    assert SECRET not in secrets and NEW_SECRET not in secrets


@scenario
def rotated_credential_needs_a_restart(box):
    install(box)
    box.run(f"mkdir -p /etc/credstore; echo '{SECRET}' >{CREDENTIAL}")
    box.run("systemctl enable --now wschat.socket")
    clients = join(5)
    box.run("systemctl reload wschat; wschat reload")
    changes = [
        (f"echo '{NEW_SECRET}' >{CREDENTIAL}", "auth.jwt_secret: credential wschat.jwt_secret has changed"),
        (
            f"rm {CREDENTIAL}; echo JWT_SECRET=\\'{SECRET}\\' >/etc/default/wschat",
            "auth.jwt_secret: environment variable JWT_SECRET has changed",
        ),
        ("echo LOG_DIR=/var/log/wschat >>/etc/default/wschat", "record.dir: environment variable LOG_DIR has changed"),
    ]
    for number, (change, want) in enumerate(changes):
        box.run(change + "; echo 'log.level = \"debug\"' >/etc/wschat.toml")
        for command in ("wschat reload", "systemctl reload wschat"):
            assert box.run(command, check=False).returncode, (command, change)
        done = box.run("wschat reload", check=False)
        assert done.returncode == 78 and want in done.stderr, done
        assert "systemctl restart wschat" in done.stderr, done
        assert want in json.loads(box.out("wschat status --json"))["config_rejected"]["why"]
        until(lambda: any(want in entry["MESSAGE"] for entry in journal(box, "PRIORITY=3")), "it is logged")
        # A start would succeed.
        assert box.out("wschat check 2>&1") == ""
        made = token(box)
        clients[0].say("ann", f"the old key {number}", jwt=made)
        all_receive(clients, f"the old key {number}")
        box.run("systemctl restart wschat; wschat reload")
        clients[0].say("ann", f"the new key {number}", jwt=token(box))
        all_receive(clients, f"the new key {number}")


@scenario
def lost_keys_open_nothing(box):
    install(box)
    key = "/etc/wschat.key"
    restore = (
        f"rm -rf {key} {SERVICE} /etc/default/wschat {CREDENTIAL}; systemctl daemon-reload;"
        f"mkdir -p /etc/credstore; echo '{SECRET}' >{key}; chown wschat {key}; chmod 600 {key};"
    )
    with_file = restore + config(f"auth.jwt_secret_file = '{key}'")
    with_keys = restore + config(f"auth.keys = [{{ alg = 'HS256', secret_file = '{key}' }}]")
    with_credential = restore + f"cp {key} {CREDENTIAL};" + config("")
    with_variable = restore + f"echo JWT_SECRET=\\'{SECRET}\\' >/etc/default/wschat;" + config("")
    ways = [
        (with_credential, f"rm {CREDENTIAL}"),
        (with_credential, f"rm -r {CREDENTIAL} /var/lib/wschat"),
        (with_credential, f": >{CREDENTIAL}"),
        (with_credential, drop_in(SERVICE, "LoadCredential=")),
        (with_credential, drop_in(SERVICE, "LoadCredential=\\nLoadCredential=other:/etc/hostname")),
        (with_file, "rm /etc/wschat.toml"),
        (with_file, ": >/etc/wschat.toml"),
        (with_file, "sed -i 's/^auth/#auth/' /etc/wschat.toml"),
        (with_file, f": >{key}"),
        (with_file, f"printf '\\n\\n' >{key}"),
        (with_file, f"chown root:root {key}"),
        (with_file, f"rm {key}; mkdir {key}"),
        (with_file, f"rm {key}"),
        (with_file, drop_in(SERVICE, f"InaccessiblePaths={key}")),
        (with_keys, f"rm {key}"),
        (with_keys, f"echo '{{\"keys\":[]}}' >{key};" + config(f"auth.keys = [{{ file = '{key}' }}]")),
        (with_variable, "rm /etc/default/wschat"),
        (with_variable, f"echo 'export JWT_SECRET={SECRET}' >/etc/default/wschat"),
    ]
    box.run("systemctl enable --now wschat.socket")
    listeners = []
    for number, (restored, lose) in enumerate(ways):
        box.run(restored + "\nsystemctl restart wschat")
        listeners += join()
        said = f"with a key {number}"
        listeners[0].say("ann", said, jwt=box.out(f"JWT_SECRET='{SECRET}' wschat token --sub ann"))
        all_receive(listeners, said)
        box.run(lose)
        assert box.run("wschat check", check=False).returncode == 78, lose
        box.run("systemctl restart wschat")
        listeners[-1].say("bob", f"without one {number}")
        until(lambda: listeners[-1].errors() == ["jwt-missing"], f"nobody can send messages: {lose}")
        assert "nobody can send messages: " in box.out("wschat status"), lose
