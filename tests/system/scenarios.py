"""What is proven in a booted systemd. One function, one scenario, one fresh machine."""

from clients import all_hear, join
from machine import until


def scenario(function):
    """Marks a function as one that tests/system/run runs."""
    function.scenario = True
    return function


def install(box, revision=1):
    """Installs the package, as apt would."""
    return box.out(f"dpkg -i /srv/dist/wschat_*-{revision}_*.deb 2>&1")


def enable(box):
    """Installs the package and opens the room."""
    install(box)
    box.run("systemctl enable --now wschat.socket")


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
    until(
        lambda: box.property("wschat.service", "StatusText").startswith("2 listeners"),
        "the status line tells of two listeners",
        10,
    )
