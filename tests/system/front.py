"""nginx and Caddy as reverse proxies with TLS, configured by the shipped examples."""

import json
import subprocess
import tempfile
from pathlib import Path

from browser import page
from clients import all_receive, join
from machine import until
from steps import enable, scenario

HOST = "chat.example.org"
# The proxy connects from this address; the clients of the tests connect from 127.0.0.2.
TRUST = '[listen]\ntrusted_proxies = ["127.0.0.1"]\n'
FORGED = ["X-Forwarded-For: 192.0.2.99"]
EXAMPLES = "/usr/share/doc/wschat/examples"


@scenario
def browser_chats_through_nginx(box):
    enable(box, TRUST)
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key"), Path(folder, "pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={HOST}", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        box.write(f"/etc/ssl/{HOST}.key", key.read_text())
        box.write(f"/etc/ssl/{HOST}.pem", certificate.read_text())
    box.run(f"cp {EXAMPLES}/nginx.conf /etc/nginx/sites-enabled/wschat; systemctl start nginx")
    browser_chats(box)
    check_addresses(box)


@scenario
def browser_chats_through_caddy(box):
    enable(box, TRUST)
    # No certificate authority can be reached.
    box.run(f"sed '/^{HOST} {{/a tls internal' {EXAMPLES}/Caddyfile >/etc/caddy/Caddyfile")
    box.run("systemctl start caddy")
    browser_chats(box)
    check_addresses(box)


def browser_chats(box):
    [bob] = join()
    with page(HOST) as ann:
        ann.open(f"https://{HOST}/")
        assert ann.run("return location.protocol") == "https:"
        bob.say("bob", "hello ann")
        text = "return document.getElementById('list').innerText"
        until(lambda: send_again(bob) or "hello ann" in ann.run(text), "the page shows it")
        ann.run(
            "document.getElementById('usr').value = 'ann';"
            "document.getElementById('msg').value = 'hello bob';"
            "document.getElementById('send').click()"
        )
        all_receive([bob], "hello bob")
        until(lambda: "hello bob" in ann.run(text), "the page shows its own message")


def check_addresses(box):
    """Through the proxy, the daemon sees the address of the client, not a forged header."""
    join(headers=FORGED)
    join(port=443, tls=HOST, headers=FORGED)

    def addresses():
        lines = box.out("wschat clients --json").splitlines()
        return [json.loads(line)["address"].split(":")[0] for line in lines]

    seen = until(lambda: len(found := addresses()) >= 3 and found, "all three are listed")
    assert "192.0.2.99" not in seen, seen
    assert seen.count("127.0.0.2") == 3, seen


def send_again(client):
    """Sends it again: the page may not have been connected the last time."""
    client.say("bob", "hello ann")
