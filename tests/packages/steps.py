"""Steps that several tests share."""

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def run(*command, check=True, **options):
    """Runs a program and waits for it."""
    command = [str(argument) for argument in command]
    return subprocess.run(command, check=check, capture_output=True, text=True, **options)


def out(*command, **options):
    """What a program prints."""
    return run(*command, **options).stdout


def deb(dist, revision=1):
    """The Debian package of this revision for this machine."""
    [package] = dist.glob(f"wschat_*-{revision}_{out('dpkg', '--print-architecture').strip()}.deb")
    return package


def rpm(dist, revision=1):
    """The rpm of this revision for this machine."""
    [package] = dist.glob(f"wschat-*-{revision}.{out('uname', '-m').strip()}.rpm")
    return package
