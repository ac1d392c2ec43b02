"""The repository that packaging/repository makes, with the apt of a booted release."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from clients import all_receive, join
from many_clients import TOP, ManyClients
from steps import scenario

LISTS = "/var/lib/apt/lists"


@scenario
def apt_installs_from_the_readme_and_upgrades_under_traffic(box):
    with Repository(box) as repository:
        repository.publish(1)
        repository.add_to_apt()
        commands = commands_of_the_readme()
        assert len(commands) == 3 and commands[0] == "apt install wschat", commands
        for command in commands[:2]:
            box.run(command)
        [bob] = join()
        box.run(f"echo hello | {commands[2]}")
        all_receive([bob], "hello")
        box.write("/etc/wschat.toml", "limits.messages_per_sec = 1000\nlimits.messages_burst = 1000\n")
        box.run("systemctl reload wschat")
        clients = ManyClients(count=200, senders=10, rate=10, cut=True)
        before = box.property("wschat.socket", "InvocationID")
        repository.publish(2)
        box.run("apt update && apt upgrade --yes")
        assert box.out("dpkg-query -Wf '${Version}' wschat").endswith("-2")
        assert box.property("wschat.socket", "InvocationID") == before
        clients.check_all_received()
        assert not bob.closed
        # Old versions stay in the repository.
        version = box.out("dpkg-query -Wf '${Version}' wschat").removesuffix("-2")
        box.run(f"apt install --yes --allow-downgrades wschat={version}-1")
        assert not bob.closed


def commands_of_the_readme():
    """From `apt install` to the first message."""
    readme = (TOP / "README.md").read_text()
    [block] = [it for it in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if it.startswith("apt install ")]
    return [line.split("  #")[0].strip() for line in block.splitlines()]


@scenario
def apt_refuses_a_changed_repository(box):
    with Repository(box) as repository:
        repository.publish(1)
        repository.add_to_apt()
        apt = repository.folder / "deb"
        pristine = repository.folder / "pristine"
        shutil.copytree(apt, pristine)
        [package] = apt.glob("pool/*.deb")
        index = next(apt.glob("dists/stable/main/binary-*/Packages"))
        signed = apt / "dists/stable/InRelease"

        def changed(path):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)

        def unsigned():
            signed.unlink()
            signed.with_name("Release.gpg").unlink()

        def signed_by_another_key():
            with tempfile.TemporaryDirectory() as home:
                make_key(home)
                shutil.rmtree(apt)
                (repository.folder / "wschat.asc").unlink()
                sources = (repository.folder / "wschat.sources").read_text()
                repository.publish(1, home)
                assert sources != (repository.folder / "wschat.sources").read_text()

        for what, change, said in (
            ("the package", lambda: changed(package), "Hash Sum mismatch"),
            ("the index", lambda: (changed(index), index.with_suffix(".gz").unlink()), "Hash Sum mismatch"),
            ("the signed list", lambda: changed(signed), "signature|signed"),
            ("no signature", unsigned, "is not signed"),
            ("another key", signed_by_another_key, "NO_PUBKEY|Missing key"),
        ):
            change()
            box.run(f"rm -rf {LISTS}/* /var/cache/apt/archives/*.deb")
            done = box.run("apt-get update && apt-get install --yes wschat", check=False)
            assert done.returncode, f"{what}: apt has installed it"
            assert re.search(said, done.stdout + done.stderr), (what, done.stdout, done.stderr)
            assert box.run("test -e /usr/bin/wschat", check=False).returncode, what
            shutil.rmtree(apt)
            shutil.copytree(pristine, apt)
        box.run(f"rm -rf {LISTS}/*; apt-get update && apt-get install --yes wschat")


def make_key(home):
    command = ["gpg", "--batch", "--quiet", "--homedir", home, "--passphrase", ""]
    command += ["--quick-generate-key", "wschat tests <tests@localhost>", "rsa2048", "sign"]
    subprocess.run(command, check=True, capture_output=True)


class Repository:
    """A repository in a folder that the machine sees, served by its nginx."""

    def __init__(self, box):
        self.box = box
        self.dist = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / "dist"
        self.folder = self.dist / f"repository-{os.getpid()}"

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory()
        make_key(self.home.name)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.home.cleanup()

    def publish(self, revision, home=None):
        """Adds the packages of a revision."""
        with tempfile.TemporaryDirectory() as packages:
            kinds = [f"wschat-*-{revision}.{platform.machine()}.rpm", f"wschat_*-{revision}_*.deb"]
            for kind in kinds:
                for path in self.dist.glob(kind):
                    os.symlink(path, Path(packages, path.name))
            command = [TOP / "packaging/repository", "--key", "tests@localhost", "--packages", packages]
            command += ["--url", "http://127.0.0.1:8000", self.folder]
            environment = {**os.environ, "GNUPGHOME": home or self.home.name}
            subprocess.run(command, check=True, capture_output=True, env=environment)

    def add_to_apt(self):
        """Serves the repository, and adds it to apt as the only one: no other can be reached."""
        self.box.write(
            "/etc/nginx/sites-enabled/packages",
            "server {\n  listen 127.0.0.1:8000;\n"
            f"  location / {{ root /srv/dist/{self.folder.name}; }}\n}}\n",
        )
        self.box.run("systemctl start nginx; rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*")
        fetch = "/usr/lib/apt/apt-helper download-file http://127.0.0.1:8000/wschat.sources"
        self.box.run(f"{fetch} /etc/apt/sources.list.d/wschat.sources && apt-get update")
