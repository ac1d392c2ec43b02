"""The configuration in several files, the short file of the packages, old days of the record.

Each function is a scenario, and each scenario has its own machine.
"""

import datetime

from clients import all_receive, join
from machine import until
from steps import SECRET, enable, install, journal, scenario, token

REFERENCE = "/usr/share/doc/wschat/wschat.toml.reference"


@scenario
def drop_ins_belong_to_the_configuration(box):
    enable(box)
    assert box.out("stat -c '%a %U:%G' /etc/wschat.d") == "2750 root:wschat"
    assert box.out("ls -A /etc/wschat.d; wschat check") == ""
    box.run(f"test -f {REFERENCE} && wschat check --config {REFERENCE}")
    assert len(box.out("grep '^#[a-z]' /etc/wschat.toml").splitlines()) == 10
    [ann] = join()
    ann.say("ann", "nobody needs a token")
    all_receive([ann], "nobody needs a token")
    # A new file in the folder gets its group, so that others need not be able to read it.
    box.run("umask 027; cat >/etc/wschat.d/10.toml", input=f'auth.jwt_secret = "{SECRET}"\n')
    assert box.out("stat -c '%a %U:%G' /etc/wschat.d/10.toml") == "640 root:wschat"
    box.run("umask 027; echo 'limits.slow_mode_secs = 1' >/etc/wschat.d/5.toml; touch /etc/wschat.d/5.toml~")
    files = ["wschat.toml", "wschat.d/10.toml", "wschat.d/5.toml"]
    assert box.out("wschat check 2>&1").splitlines() == [f"read /etc/{file}" for file in files]
    box.run("systemctl reload wschat")
    ann.say("ann", "without")
    until(lambda: ann.errors() == ["jwt-missing"], "a token is needed")
    ann.say("ann", "with", jwt=token(box))
    all_receive([ann], "with")

    # A drop-in that the daemon cannot read is never left out: not at a reload,
    box.run("chown root:root /etc/wschat.d/10.toml; chmod 600 /etc/wschat.d/10.toml")
    assert box.run("systemctl reload wschat", check=False).returncode
    problem = "wschat: /etc/wschat.d/10.toml: Permission denied (os error 13)"
    assert problem in [entry["MESSAGE"] for entry in journal(box)]
    ann.say("ann", "again")
    until(lambda: ann.errors() == ["jwt-missing"] * 2, "the key is still in force")
    # not at a start.
    box.run("systemctl stop wschat.socket wschat.service")
    assert box.run("systemctl start wschat.service", check=False).returncode
    # systemd-tmpfiles, which runs at a boot and at an upgrade, gives the group to all files.
    box.run("systemd-tmpfiles --create wschat.conf && systemctl start wschat.socket wschat.service")
    [bob] = join()
    bob.say("bob", "without")
    until(lambda: bob.errors() == ["jwt-missing"], "the key is in force")
    # The only key is gone, with all files.
    box.run("rm /etc/wschat.toml /etc/wschat.d/*.toml; systemctl restart wschat")
    until(lambda: "nobody can send" in box.out("wschat status"), "the room is closed")
    bob.say("bob", "still without")
    until(lambda: bob.errors() == ["jwt-missing"] * 2, "nobody can send messages")


@scenario
def upgrade_replaces_the_long_file(box):
    # The package as it was: with all keys in /etc/wschat.toml, and without /etc/wschat.d.
    install(box)
    box.run(
        f"""set -e; cd /tmp; dpkg-deb -R /srv/dist/wschat_*-1_*.deb old
        cp {REFERENCE} old/etc/wschat.toml; chmod 640 old/etc/wschat.toml
        rmdir old/etc/wschat.d; sed -i 's/^Version: .*/Version: 0.2.9-1/' old/DEBIAN/control
        dpkg-deb -Znone -b old old.deb; dpkg --purge wschat"""
    )
    # dpkg fails if it has a question, because it gets no answer.
    upgrade = "dpkg -i /srv/dist/wschat_*-1_*.deb </dev/null 2>&1"
    box.run("dpkg -i /tmp/old.deb")
    assert len(box.out("grep '^#[a-z]' /etc/wschat.toml").splitlines()) > 30
    box.run(upgrade)
    assert len(box.out("grep '^#[a-z]' /etc/wschat.toml").splitlines()) == 10
    assert box.out("stat -c '%a %U:%G' /etc/wschat.toml /etc/wschat.d") == (
        "640 root:wschat\n2750 root:wschat"
    )
    box.run("dpkg --purge wschat && dpkg -i /tmp/old.deb")
    box.run("echo 'threads = 1' >>/etc/wschat.toml")
    assert "end of file on stdin at conffile prompt" in box.run(upgrade, check=False).stdout
    install(box)
    assert "server.threads = 1  # /etc/wschat.toml" in box.out("wschat config")
    # A purge leaves the files of the operator, as dpkg does, and nothing else.
    box.run("echo >/etc/wschat.d/own.toml; dpkg --purge wschat")
    assert box.out("find /etc -path '*wschat*' -not -path '*/systemd/*'") == (
        "/etc/wschat.d\n/etc/wschat.d/own.toml"
    )


@scenario
def old_days_of_the_record_are_deleted(box):
    today = datetime.datetime.now(datetime.timezone.utc).date()
    days = [str(today - datetime.timedelta(days=ago)) for ago in range(12)]
    enable(box, '[record]\ndir = "/var/log/wschat"\n')
    [ann] = join()
    box.run(f"cd /var/log/wschat && touch notes {' '.join(days)} && chown wschat: *")
    ann.say("ann", "for the record")
    all_receive([ann], "for the record")

    def keep(number):
        box.run(f"umask 027; echo 'record.keep_days = {number}' >/etc/wschat.d/keep.toml")
        box.run("systemctl reload wschat")
        left = sorted(days[: number + 1]) + ["notes"]
        until(lambda: box.out("ls /var/log/wschat").split() == left, f"{number} days are left")

    keep(10)
    keep(2)


@scenario
def capacity_of_the_unit(box):
    enable(box)
    drop_in = "/etc/systemd/system/wschat.service.d/limit.conf"
    box.run(f"mkdir -p {drop_in.rsplit('/', 1)[0]}; printf '[Service]\nLimitNOFILE=20000\n' >{drop_in}")
    box.run("systemctl daemon-reload")
    enough = box.run("wschat check --capacity 19000")
    assert "Backlog= of wschat.socket" in enough.stdout, enough.stdout
    few = box.run("wschat check --capacity 50000", check=False)
    assert few.returncode == 78, few.stdout
    [line] = [line for line in few.stdout.splitlines() if line.startswith("LimitNOFILE= ")]
    remedy = line.split("too low: systemctl edit wschat.service: ")[1]
    box.run(f"printf '[Service]\n{remedy}\n' >{drop_in}; systemctl daemon-reload")
    few = box.run("wschat check --capacity 50000", check=False).stdout
    assert "too low: systemctl" not in few, few
    # The sandbox hides the limits of the system from the check in it.
    box.run("echo 'limits.connections_max = 9000000' >/etc/wschat.d/many.toml")
    check = box.run("wschat check 2>&1").stdout
    assert "9000000 is more than this system carries: " in check, check
