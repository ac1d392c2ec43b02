"""Files of the package for other programs of the host: AppArmor, ufw, firewalld."""

import shutil

from steps import deb, out, run


def test_apparmor_accepts_the_profile(dist, root):
    run("dpkg-deb", "-x", deb(dist), root)
    profile = root / "etc/apparmor.d/wschat"
    run("apparmor_parser", "--skip-kernel-load", "--skip-cache", profile)
    # It is attached to no path, so that it does not confine the commands; the unit names it.
    assert out("apparmor_parser", "--names", profile) == "wschat\n"
    assert "\nprofile wschat flags=" in profile.read_text()
    [unit] = root.glob("**/systemd/system/wschat.service")
    assert "\nAppArmorProfile=-wschat\n" in unit.read_text()


def test_ufw_knows_the_application(dist, root):
    run("dpkg-deb", "-x", deb(dist), root)
    shutil.copytree("/lib/ufw", root / "lib/ufw")
    shutil.copytree("/etc/ufw", root / "etc/ufw", dirs_exist_ok=True)
    shutil.copytree("/usr/share/ufw", root / "usr/share/ufw")
    shutil.copytree("/etc/default", root / "etc/default", dirs_exist_ok=True)
    said = out("ufw", f"--rootdir={root}", f"--datadir={root}", "app", "info", "wschat")
    assert said.endswith("Port:\n  8080/tcp\n"), said


def test_firewalld_knows_the_service(dist, root):
    run("dpkg-deb", "-x", deb(dist), root)
    settings = root / "settings"
    settings.mkdir()
    shutil.copy("/etc/firewalld/firewalld.conf", settings)
    firewall = ["firewall-offline-cmd", f"--system-config={settings}"]
    run(*firewall, f"--new-service-from-file={root}/usr/lib/firewalld/services/wschat.xml")
    said = out(*firewall, "--info-service=wschat")
    assert "  ports: 8080/tcp\n" in said, said
    run(*firewall, "--check-config")
