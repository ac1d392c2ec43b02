"""nginx and Caddy in front of the room, as the shipped examples have them, with TLS."""

import json
import subprocess
import tempfile
from pathlib import Path

from browser import page
from clients import all_hear, join
from machine import until
from steps import enable, scenario

HOST = "chat.example.org"
# The front connects from here; the tests' own clients come from 127.0.0.2.
TRUST = '[listen]\ntrusted_proxies = ["127.0.0.1"]\n'
LIE = ["X-Forwarded-For: 192.0.2.99"]
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
    addresses_are_true(box)


@scenario
def browser_chats_through_caddy(box):
    enable(box, TRUST)
    # There is nobody here to give out a certificate.
    box.run(f"sed '/^{HOST} {{/a tls internal' {EXAMPLES}/Caddyfile >/etc/caddy/Caddyfile")
    box.run("systemctl start caddy")
    browser_chats(box)
    addresses_are_true(box)


def browser_chats(box):
    [bob] = join()
    with page(HOST) as ann:
        ann.open(f"https://{HOST}/")
        assert ann.run("return location.protocol") == "https:"
        bob.say("bob", "hello ann")
        text = "return document.getElementById('list').innerText"
        until(lambda: say_again(bob) or "hello ann" in ann.run(text), "the page shows it")
        ann.run(
            "document.getElementById('usr').value = 'ann';"
            "document.getElementById('msg').value = 'hello bob';"
            "document.getElementById('send').click()"
        )
        all_hear([bob], "hello bob")
        until(lambda: "hello bob" in ann.run(text), "the page shows its own")


def addresses_are_true(box):
    """Through the front the client's own address is seen; what it says itself is not."""
    join(headers=LIE)
    join(port=443, tls=HOST, headers=LIE)

    def addresses():
        lines = box.out("wschat clients --json").splitlines()
        return [json.loads(line)["address"].split(":")[0] for line in lines]

    seen = until(lambda: len(found := addresses()) >= 3 and found, "both are listed")
    assert "192.0.2.99" not in seen, seen
    assert seen.count("127.0.0.2") == 3, seen


def say_again(client):
    """The page may have come too late for the last time."""
    client.say("bob", "hello ann")
