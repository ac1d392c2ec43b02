"""A temporary machine: a container in which systemd has booted.

The root file systems are created once, in the cache. A machine writes to an overlay in
memory, which outlives a reboot and is deleted with the machine. The process that boots a machine enters its
network namespace, so 127.0.0.1 is the loopback address of the machine.
"""

import contextlib
import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

CACHE = Path(os.environ.get("WSCHAT_CACHE", Path.home() / ".cache/wschat-tests"))
PACKAGES = "systemd,systemd-sysv,dbus,iproute2,init-system-helpers,nginx-light,caddy,rpm,fail2ban,iptables,python3-systemd"
CLONE_NEWNET = 0x40000000
# systemd needs the unified cgroup hierarchy; the host may have another.
PREPARE = """
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1"/upper "$1"/work "$1"/root
mount -t overlay -o lowerdir="$2",upperdir="$1"/upper,workdir="$1"/work overlay "$1"/root
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/"$0"
echo $$ >/sys/fs/cgroup/"$0"/cgroup.procs
shift 2
# systemd-nspawn exits with 133 for a reboot.
while "$@"; [ $? = 133 ]; do :; done
"""


def until(condition, what, secs=30.0):
    """Waits until the condition is true, and returns its value."""
    deadline = time.monotonic() + secs
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {secs} s: {what}")
        time.sleep(0.02)
    return result


def root(release):
    """The root file system of a Debian release; created if it is not in the cache."""
    # Another checkout may need other packages at the same time.
    path = CACHE / f"root-{release}-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:8]}"
    recipe = path / "recipe"
    if recipe.exists() and recipe.read_text() == PACKAGES:
        return path
    shutil.rmtree(path, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", release, path],
        check=True,
    )
    # Each boot has its own machine id, and starts only what a scenario starts.
    (path / "etc/machine-id").write_text("")
    (path / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    for unit in ("nginx", "caddy", "fail2ban"):
        # The links are absolute, so they are broken outside of the machine.
        for wants in path.glob("etc/systemd/system/*.wants"):
            (wants / f"{unit}.service").unlink(missing_ok=True)
    recipe.write_text(PACKAGES)
    return path


def child(process, name):
    """The child of a process with this name, if there is one."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == f"{name}\n":
                return child
    return None


class Machine:
    """One boot of a release. Commands run inside; clients connect to its loopback address."""

    def __init__(self, release, name, dist, log):
        self.name = name
        self.release = release
        self.log = log
        self.folder = tempfile.mkdtemp()
        command = ["unshare", "--mount", "bash", "-c", PREPARE, name, self.folder, root(release)]
        command += ["systemd-nspawn", "--quiet", f"--directory={self.folder}/root"]
        command += [f"--machine={name}", "--register=no", "--keep-unit", "--boot"]
        command += ["--console=pipe", "--link-journal=no", "--private-network"]
        command += [f"--bind-ro={dist}:/srv/dist"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        self.leader = None
        self._wait_until_up()

    def reboot(self):
        """Reboots. Clients then connect to the new loopback address."""
        self.run("systemctl reboot")
        self._wait_until_up()

    def _wait_until_up(self):
        before = self.leader
        is_next = lambda leader: leader != before and leader
        self.leader = until(lambda: is_next(self._leader()), "the container starts")
        until(lambda: self._up() in ("running", "degraded"), "systemd is up", 60)
        self._enter_network()

    def _leader(self):
        assert self.process.poll() is None, "systemd-nspawn ended"
        return child(self._nspawn(), "systemd")

    def _nspawn(self):
        return child(self.process.pid, "systemd-nspawn")

    def _up(self):
        done = self.run("systemctl is-system-running", check=False)
        return done.stdout.strip()

    def _enter_network(self):
        with open(f"/proc/{self.leader}/ns/net") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def run(self, command, check=True, **options):
        """Runs a shell command in the machine and waits for it."""
        inside = ["nsenter", "-t", self.leader, "-a", "--", "env", "-i"]
        inside += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        inside += ["DEBIAN_FRONTEND=noninteractive", "sh", "-c", command]
        done = subprocess.run(inside, capture_output=True, text=True, **options)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def out(self, command):
        """The output of a command in the machine, without the last newline."""
        return self.run(command).stdout.rstrip("\n")

    def property(self, unit, name):
        """A property of a unit, from systemctl show."""
        return self.out(f"systemctl show --value -p {name} {unit}")

    def host_processes(self):
        """The fields of /proc/PID/status of every process that the host sees, as a dictionary."""
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = path.read_text().splitlines()
            except OSError:
                continue
            yield {key: value.strip() for key, _, value in (x.partition(":") for x in lines)}

    def write(self, path, text):
        """Writes a file. An existing file keeps its mode."""
        self.run(f"mkdir -p $(dirname {path}); cat >{path}", input=text)

    def drop_in(self, unit, text):
        """Adds a drop-in to a unit."""
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.run("systemctl daemon-reload")

    def stop(self):
        """Stops the machine at once and removes everything of it."""
        if nspawn := self._nspawn():
            os.kill(int(nspawn), signal.SIGTERM)
        else:
            self.process.kill()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.rmdir(self.folder)
        # Remove the folders of its cgroup, if they are visible and empty.
        for tree in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            for folder in sorted(Path(tree, self.name).glob("**/"), reverse=True):
                try:
                    folder.rmdir()
                except OSError:
                    pass
