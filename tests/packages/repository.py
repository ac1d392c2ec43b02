"""packaging/repository: what it says of mistakes, and the repository with the real dnf."""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from steps import TOP, deb, out, rpm, run

SCRIPT = TOP / "packaging/repository"


def test_mistakes_are_named(dist, folder):
    packages, target = copies(dist, folder, 1), folder / "repository"
    make_key(folder / "home")
    good = ["--key", "tests@localhost", "--url", "http://127.0.0.1", "--packages", packages]

    def check(code, said, *arguments, **environment):
        environment = {**os.environ, "GNUPGHOME": str(folder / "home"), **environment}
        done = run(SCRIPT, *arguments, check=False, env=environment)
        assert (done.returncode, said in done.stderr) == (code, True), done

    check(64, "which folder?", *good)
    check(64, "which key?", *good[2:], target)
    check(64, "--url ''", *good[:2], *good[4:], target)
    check(64, "--url 'example.org'", *good, "--url", "example.org", target)
    check(64, "--url needs a value", "--url")
    check(64, "unknown option --kex", "--kex", "x", target)
    check(64, "only one folder", *good, target, target)
    check(66, "no packages; packaging/build makes them", *good, "--packages", folder, target)
    check(66, "no such secret key", *good, "--key", "nobody@localhost", target)
    assert not target.exists(), "a mistake has created the repository"
    # All that is missing is named.
    only = folder / "bin"
    only.mkdir()
    for program in ("bash", "dirname", "cat", "cut", "gpg"):
        (only / program).symlink_to(shutil.which(program))
    missing = "apt-get install apt-utils dpkg createrepo-c rpm\n"
    (only / "apt-get").symlink_to("/bin/false")
    check(69, missing, *good, target, PATH=str(only))
    rpm(packages).unlink()
    check(69, "apt-get install apt-utils dpkg\n", *good, target, PATH=str(only))
    # No key is made.
    empty = folder / "empty"
    empty.mkdir(mode=0o700)
    check(66, "no such secret key", *good, target, GNUPGHOME=str(empty))
    assert out("gpg", "--homedir", empty, "--list-secret-keys") == ""
    # Two keys of one name.
    make_key(folder / "home", "tests@localhost too <too@localhost>")
    check(65, "several keys", *good, target)
    assert "Usage: packaging/repository" in out(SCRIPT, "--help")


def test_published_package_never_changes(dist, folder):
    repository = Repository(dist, folder)
    repository.publish(1)
    repository.publish(1)
    before = snapshot(repository.folder)
    packages = copies(dist, folder, 1)
    for package in (deb(packages), rpm(packages)):
        content = package.read_bytes()
        # Another build: here, another package under this name.
        package.write_bytes({".deb": deb, ".rpm": rpm}[package.suffix](dist, 2).read_bytes())
        done = repository.run(packages, check=False)
        assert done.returncode == 73 and "new --revision" in done.stderr, done
        package.write_bytes(content)
    # Sources that have changed, although their version has not.
    sources = "wschat_0.orig.tar.xz"
    for folder in (packages, repository.folder / "deb/pool"):
        (folder / sources).write_text(str(folder))
    done = repository.run(packages, check=False)
    assert done.returncode == 73 and "need a new version in Cargo.toml" in done.stderr, done
    for folder in (packages, repository.folder / "deb/pool"):
        (folder / sources).unlink()
    assert snapshot(repository.folder) == before, "a failure has changed the repository"
    # A package that the operator deletes is not offered any more.
    repository.publish(2)
    for package in (*repository.folder.glob("deb/pool/*-1_*"), *repository.folder.glob("rpm/*-1.*")):
        package.unlink()
    repository.publish(2)
    [index] = repository.folder.glob("deb/dists/stable/main/binary-*/Packages")
    assert re.findall(r"^Version: .*-(.)$", index.read_text(), re.MULTILINE) == ["2"]


def test_another_key_is_refused(dist, folder):
    repository = Repository(dist, folder)
    repository.publish(1)
    before = snapshot(repository.folder)
    make_key(folder / "home", "another <another@localhost>")
    done = repository.run(copies(dist, folder, 1), "another@localhost", check=False)
    assert done.returncode == 73 and "a new key needs a new folder" in done.stderr, done
    assert snapshot(repository.folder) == before, "a failure has changed the repository"


def test_two_runs_at_once(dist, folder):
    """The packages are readable for their owner only; a web server must be able to read them."""
    repository = Repository(dist, folder)
    for package in copies(dist, folder, 1).iterdir():
        package.chmod(0o600)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(repository.run, folder / "packages-1") for _ in range(3)]:
            done.result()
    files = snapshot(repository.folder)
    assert len([path for path in files if path.suffix in (".deb", ".rpm")]) == 2, files
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files), files


def test_apt_fetches_the_source(dist, folder):
    repository = Repository(dist, folder)
    packages = copies(dist, folder, 1)
    # A small one, because that of wschat has all crates.
    debian = folder / "wschat-7/debian"
    (debian / "source").mkdir(parents=True)
    (debian / "source/format").write_text("3.0 (native)\n")
    (debian / "control").write_text("Source: wschat\nMaintainer: T <t@localhost>\n\nPackage: wschat\nArchitecture: any\n")
    (debian / "changelog").write_text(
        "wschat (7) unstable; urgency=low\n\n  * x\n\n -- T <t@localhost>  Fri, 27 Nov 2026 12:00:00 +0000\n"
    )
    run("dpkg-source", "-b", debian.parent, cwd=packages)
    repository.run(packages)
    shutil.copy(repository.folder / "wschat.sources", folder)
    options = ["-oDir::Etc::sourcelist=/dev/null", f"-oDir::Etc::sourceparts={folder}", "-oAPT::Sandbox::User=root"]
    for name in ("State::lists", "Cache"):
        (folder / name / "partial").mkdir(parents=True)
        options.append(f"-oDir::{name}={folder / name}")
    run("apt-get", *options, "update")
    fetched = folder / "fetched"
    fetched.mkdir()
    run("apt-get", *options, "source", "wschat", cwd=fetched)
    assert (fetched / "wschat-7/debian/control").exists()


def test_dnf_installs_and_upgrades(dist, folder):
    repository = Repository(dist, folder)
    repository.publish(1)
    root = Root(folder, repository)
    root.dnf("makecache")
    root.dnf("install", "wschat")
    assert root.version().endswith("-1")
    # The signature was verified with the key of the repository.
    assert "RSA/SHA512" in out("rpm", "--root", root.path, "-qi", "wschat")
    repository.publish(2)
    assert len(root.dnf("--refresh", "repoquery", "wschat").stdout.splitlines()) == 2
    root.dnf("upgrade", "wschat")
    assert root.version().endswith("-2")


def test_dnf_refuses_a_changed_repository(dist, folder):
    repository = Repository(dist, folder)
    repository.publish(1)
    pristine = folder / "pristine"
    shutil.copytree(repository.folder, pristine)
    data = repository.folder / "rpm/repodata"

    def change(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def unsigned_package():
        """The index is signed with the right key, the package is not."""
        package = rpm(repository.folder / "rpm")
        shutil.copy(rpm(dist), package)
        repository.publish(1)

    for number, (what, damage) in enumerate({
        "package": lambda: change(rpm(repository.folder / "rpm")),
        "index": lambda: change(data / "repomd.xml"),
        "no signature": lambda: (data / "repomd.xml.asc").unlink(),
        "unsigned package": unsigned_package,
    }.items()):
        damage()
        root = Root(folder / str(number), repository)
        done = root.dnf("install", "wschat", check=False)
        assert done.returncode and not (root.path / "usr/bin/wschat").exists(), (what, done)
        shutil.rmtree(repository.folder)
        shutil.copytree(pristine, repository.folder)


def make_key(home, name="wschat tests <tests@localhost>"):
    home.mkdir(mode=0o700, exist_ok=True)
    run("gpg", "--batch", "--homedir", home, "--passphrase", "", "--quick-generate-key", name, "rsa2048", "sign")


def copies(dist, folder, revision):
    """A folder with the packages of one revision only."""
    packages = folder / f"packages-{revision}"
    packages.mkdir(exist_ok=True)
    for package in (deb(dist, revision), rpm(dist, revision)):
        shutil.copy(package, packages)
    return packages


def snapshot(folder):
    """Every file of a folder, with its content."""
    return {path: path.read_bytes() for path in folder.glob("**/*") if path.is_file()}


class Repository:
    def __init__(self, dist, folder):
        self.dist, self.parent, self.folder = dist, folder, folder / "repository"
        make_key(folder / "home")

    def publish(self, revision):
        self.run(copies(self.dist, self.parent, revision))

    def run(self, packages, key="tests@localhost", check=True):
        arguments = ["--key", key, "--url", f"file://{self.folder}", "--packages", packages]
        environment = {**os.environ, "GNUPGHOME": str(self.parent / "home")}
        return run(SCRIPT, *arguments, self.folder, check=check, env=environment)


class Root:
    """A system of its own, in which only what wschat requires is said to be there."""

    def __init__(self, folder, repository):
        self.path = folder / "root"
        repositories = self.path / "etc/yum.repos.d"
        repositories.mkdir(parents=True)
        shutil.copy(repository.folder / "wschat.repo", repositories)
        stand_in = folder / "stand-in"
        stand_in.mkdir()
        needed = set(out("rpm", "-qpR", "--nosignature", rpm(repository.dist)).splitlines())
        provides = sorted(it for it in needed if not re.match(r"rpmlib|config|rtld|systemd$", it))
        spec = folder / "stand-in.spec"
        spec.write_text(
            "Name: system\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n"
            + "".join(f"Provides: {it.replace('>=', '=')}\n" for it in (*provides, "rtld(GNU_HASH)"))
            + "%description\nx\n%files\n"
        )
        run("rpmbuild", "-bb", "--define", f"_topdir {folder}/rpmbuild", "--define", f"_rpmdir {stand_in}", spec)
        run("createrepo_c", stand_in)
        Path(repositories, "system.repo").write_text(
            f"[system]\nname=system\nbaseurl=file://{stand_in}\ngpgcheck=0\n"
        )

    def dnf(self, *arguments, check=True):
        options = [f"--installroot={self.path}", f"--setopt=reposdir={self.path}/etc/yum.repos.d"]
        # There is no shell for the scripts of the package.
        options += ["--releasever=1", f"--setopt=cachedir={self.path}/cache", "--setopt=tsflags=noscripts", "--quiet"]
        return run("dnf", "--assumeyes", *options, *arguments, check=check)

    def version(self):
        return out("rpm", "--root", self.path, "-q", "--qf", "%{VERSION}-%{RELEASE}", "wschat")
