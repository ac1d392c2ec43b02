"""packaging/Containerfile, with the real podman and a static program."""

import json
import os
import shlex
import socket
import tempfile
import time
import urllib.request
from pathlib import Path

from steps import TOP, run

# podman needs the unified cgroup hierarchy; the host may have another.
PREPARE = "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
# What an unprivileged host allows.
LIMITS = ["--cgroups=disabled", "--ulimit=nofile=1024:4096", "--ulimit=nproc=1000:1000"]


def test_room_in_a_container(dist, folder):
    # Short, because podman has sockets there.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        box = Podman(folder, Path(short))
        (folder / "secret").write_text("a secret that is longer than 32 bytes")
        box.podman("secret", "create", "wschat.jwt_secret", folder / "secret")
        mounts = ["--tmpfs=/run/wschat", "--secret=wschat.jwt_secret,uid=65532,mode=0400"]
        mounts += ["--volume=wschat:/var/lib/wschat:U"]
        with box.start(*mounts):
            assert box.wschat("check") == ""
            token = box.wschat("token", "--sub", "ann").strip()
            with box.events() as events:
                assert box.post({"usr": "ann", "msg": "hello", "jwt": token})["msg"] == "hello"
                # Presence ends with two braces.
                while not (line := events.readline()).startswith(b"data:") or b"}}" in line:
                    assert line, "the event stream has ended"
                assert json.loads(line[5:])["msg"] == "hello"
            assert json.loads(box.wschat("status", "--json"))["messages"] == 1
            box.wschat("mute", "bob")
            box.podman("kill", "--signal=HUP", "wschat")
            # The daemon is not root, and cannot write to its file system.
            user = run("ps", "-o", "uid=", "-C", "wschat").stdout.split()
            assert "65532" in user, user
        # Its state outlives the container.
        with box.start(*mounts):
            assert '"bob"' in box.wschat("mutes")
        # The least that it needs is nothing, and then no commands.
        with box.start():
            assert box.post({"usr": "ann", "msg": "hello"})["msg"] == "hello"


class Podman:
    def __init__(self, folder, short):
        self.options = [f"--root={folder}/storage", f"--runroot={short}/run", f"--tmpdir={short}/tmp"]
        self.options += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        context = folder / "context"
        run("install", "-D", "-s", os.environ["WSCHAT_STATIC"], context / "wschat")
        build = ["build", "--isolation=chroot", "--tag=wschat", f"--file={TOP}/packaging/Containerfile"]
        self.podman(*build, context)

    def podman(self, *arguments):
        command = shlex.join(["podman", *map(str, [*self.options, *arguments])])
        return run("unshare", "--mount", "sh", "-c", f"{PREPARE} && {command}").stdout

    def wschat(self, *arguments):
        return self.podman("exec", "wschat", "/wschat", *arguments)

    def post(self, message):
        request = urllib.request.Request(
            f"http://{self.address}/", json.dumps(message).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def events(self):
        return urllib.request.urlopen(f"http://{self.address}/events", timeout=30)

    def start(self, *mounts):
        return Running(self, mounts)


class Running:
    """A container that runs the image, and is stopped at the end."""

    def __init__(self, box, mounts):
        self.box = box
        options = ["--detach", "--name=wschat", "--replace", "--read-only", "--network=host", *LIMITS]
        serve = ["wschat", "serve", f"--listen={box.address}"]
        box.podman("run", *options, *mounts, *serve)

    def __enter__(self):
        deadline = time.monotonic() + 30
        host, port = self.box.address.split(":")
        while True:
            try:
                return socket.create_connection((host, int(port))).close()
            except OSError:
                assert time.monotonic() < deadline, self.box.podman("logs", "wschat")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.box.podman("stop", "wschat")
        state = self.box.podman("inspect", "--format={{.State.ExitCode}}", "wschat")
        self.box.podman("rm", "wschat")
        assert state == "0\n", state
