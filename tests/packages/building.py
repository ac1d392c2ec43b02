"""packaging/build: what it says, and that its packages are the same wherever they are built."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from steps import TOP, deb, out, rpm, run

# Programs that a build of packages may need.
TOOLS = """apt-get basename bash cargo cat cc chmod cp cut date dh dh_apparmor dirname dpkg-source find gcc getent
    git grep gzip head hostname id install ls make mkdir mv python3 realpath rm rpmbuild rustc sed
    sort stat strip tar tr uname xz""".split()


def build(*arguments, **options):
    return run(TOP / "packaging/build", *arguments, check=False, **options)


def path_without(folder, *missing):
    """A PATH with the usual programs, except those that are missing."""
    for tool in set(TOOLS) - set(missing):
        (folder / tool).symlink_to(shutil.which(tool))
    return {**os.environ, "PATH": str(folder)}


def missing(folder, arguments, *tools):
    result = build(*arguments, env=path_without(folder, *tools))
    assert result.returncode == 69, result
    assert "Compiling" not in result.stderr, result.stderr
    return result.stderr


def test_missing_debhelper_is_named_before_compiling(_dist, folder):
    assert "apt-get install debhelper" in missing(folder, ["--deb"], "dh")


def test_missing_rpm_is_named_before_compiling(_dist, folder):
    assert "apt-get install rpm" in missing(folder, ["--rpm"], "rpmbuild")


def test_missing_cargo_and_compiler_are_named_together(_dist, folder):
    said = missing(folder, [], "cargo", "cc", "gcc")
    assert "apt-get install gcc" in said and "cargo or rustc is missing" in said, said


def test_unknown_words_are_refused(_dist, _folder):
    wrong = [["--bogus"], ["--revision"], ["--revision", "a-b"], ["--arch", "pdp11"], ["word"]]
    wrong += [["--maintainer", name] for name in ("Ann", "ann@localhost", "<ann@localhost>", "Ann <ann@>")]
    for words in wrong:
        result = build(*words)
        assert result.returncode == 64 and "packaging/build: " in result.stderr, result


def test_date_that_is_none_is_refused(_dist, _folder):
    for date in ("yesterday", "-1", "9" * 20):
        result = build("--deb", "--binary", "/bin/true", env={**os.environ, "SOURCE_DATE_EPOCH": date})
        assert result.returncode == 64 and f"SOURCE_DATE_EPOCH={date}" in result.stderr, result


def test_help_is_printed(_dist, _folder):
    result = build("--help")
    assert result.returncode == 0 and "--source" in result.stdout, result


def test_build_without_rpmbuild_makes_the_deb(dist, folder):
    """With all programs of the system except this one."""
    tools = folder / "tools"
    tools.mkdir()
    for tool in [*Path("/usr/sbin").iterdir(), *Path("/usr/bin").iterdir()]:
        if tool.name != "rpmbuild" and not (tools / tool.name).is_symlink():
            (tools / tool.name).symlink_to(tool)
    environment = {
        **os.environ,
        "PATH": f"{Path(shutil.which('cargo')).parent}:{tools}",
        "CARGO_TARGET_DIR": str(folder / "target"),
    }
    result = build("--binary", program(dist, folder), env=environment)
    assert result.returncode == 0 and "no rpm is built" in result.stderr, result
    assert deb(folder / "target/dist").exists()


def program(dist, folder):
    """The program of the Debian package."""
    run("dpkg-deb", "-x", deb(dist), folder / "unpacked")
    return folder / "unpacked/usr/bin/wschat"


def test_packages_of_the_same_program_are_the_same_everywhere(dist, folder):
    """In another folder without git, with another home, umask, time zone and locale,
    later. tests/packages/elsewhere also compiles."""
    tree = folder / "another-place"
    copy_sources(tree)
    date, *author = out("git", "log", "-1", "--format=%ct%n%an%n%ae", cwd=TOP).splitlines()
    (folder / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),
        "HOME": str(folder / "home"),
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": date,
        "DEBFULLNAME": author[0],
        "DEBEMAIL": author[1],
    }
    command = ["packaging/build", "--binary", program(dist, folder)]
    run(*command, cwd=tree, umask=0o077, env=environment)
    for package in (deb(dist), rpm(dist)):
        for name in (package.name, f"{package.name}.cdx.json"):
            assert (dist / name).read_bytes() == (tree / "target/dist" / name).read_bytes(), name


def test_other_repository_and_spaces_above_the_sources(dist, folder):
    """An unpacked archive in somebody's repository, in a folder with a difficult name."""
    outer = folder / "a b's"
    tree = outer / "wschat"
    copy_sources(tree)
    run("git", "init", "--quiet", outer)
    identity = ["-c", "user.name=Outer", "-c", "user.email=outer@localhost"]
    run("git", *identity, "commit", "--quiet", "--allow-empty", "--message=x", cwd=outer)
    program(dist, folder)
    # The name of a folder that make and sh would take for another one.
    kept = folder / "a/kept"
    kept.mkdir(parents=True)
    environment = {key: value for key, value in os.environ.items() if key != "CARGO_TARGET_DIR"}
    command = [tree / "packaging/build", "--binary", "unpacked/usr/bin/wschat"]
    run(*command, "--deb", cwd=folder, env=environment)
    fields = out("dpkg-deb", "--field", deb(tree / "target/dist"))
    assert "Outer" not in fields and kept.is_dir(), fields
    result = run(*command, "--rpm", cwd=folder, env=environment, check=False)
    assert result.returncode == 69 and "set CARGO_TARGET_DIR" in result.stderr, result


def test_no_results_are_taken_for_sources(_dist, folder):
    """The folder of the results is in an unpacked archive, and has another name."""
    tree = folder / "wschat"
    copy_sources(tree)
    (tree / "out/dist").mkdir(parents=True)
    (tree / "out/dist/old.deb").touch()
    (tree / "vendor").mkdir()
    (tree / "vendor/crate").touch()
    environment = {**os.environ, "CARGO_TARGET_DIR": "out"}
    run("packaging/build", "--source", cwd=tree, env=environment)
    [archive] = tree.glob("out/dist/*.orig.tar.xz")
    assert "out" not in {name.split("/")[1] for name in out("tar", "-tf", archive).splitlines()}


def copy_sources(tree):
    """What git has, without git."""
    for name in out("git", "ls-files", "-z", cwd=TOP).strip("\0").split("\0"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, tree / name)


def test_program_has_no_path_of_this_machine(dist, folder):
    content = program(dist, folder).read_bytes()
    target = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")).resolve()
    for path in (TOP, target, Path.home() / ".cargo", Path.home() / ".rustup"):
        assert str(path).encode() not in content, path


def test_another_date_compiles_nothing_again(_dist, _folder):
    command = ["build", "--release", "--target", f"{os.uname().machine}-unknown-linux-gnu"]
    said = run(TOP / "packaging/cargo", *command, env={**os.environ, "SOURCE_DATE_EPOCH": "1"}).stderr
    assert "Finished" in said and "Compiling" not in said, said


def test_configuration_of_cargo_moves_no_results(_dist, folder):
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    (folder / "registry").symlink_to(home / "registry")
    (folder / "config.toml").write_text('build.target-dir = "/elsewhere"\n')
    environment = {key: value for key, value in os.environ.items() if key != "CARGO_TARGET_DIR"}
    command = [TOP / "packaging/cargo", "metadata", "--no-deps", "--offline", "--format-version=1"]
    found = json.loads(out(*command, env={**environment, "CARGO_HOME": str(folder)}))
    assert found["target_directory"] == str(TOP / "target"), found["target_directory"]


def test_old_python_is_named_before_compiling(_dist, folder):
    environment = path_without(folder, "python3")
    (folder / "python3").symlink_to("/bin/false")
    result = build("--deb", env=environment)
    assert result.returncode == 69 and "3.11 or later" in result.stderr, result


def test_list_of_crates_is_up_to_date(_dist, _folder):
    run(TOP / "packaging/crates", "check")


def test_sbom_has_the_crates_of_the_program(dist, _folder):
    crates = (TOP / "packaging/crates.txt").read_text().split("\n-----")[0]
    for file in (deb(dist), rpm(dist)):
        bom = json.loads(file.with_name(f"{file.name}.cdx.json").read_text())
        package = bom["metadata"]["component"]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert package["hashes"] == [{"alg": "SHA-256", "content": digest}]
        references = {component["bom-ref"] for component in bom["components"]}
        assert len(references) == len(bom["components"]) > 100
        for component in bom["components"]:
            licence = component["licenses"][0]["expression"]
            line = f"\n{component['name']} {component['version']}: {licence}\n"
            assert component["name"] == "std" or line in crates, line
        # Everything in it is used by something, and uses only what is in it.
        uses = {it["ref"]: set(it["dependsOn"]) for it in bom["dependencies"]}
        assert set(uses) == references | {package["bom-ref"]}
        assert set().union(*uses.values()) == references
