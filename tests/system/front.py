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
        # An event stream through the proxy outlives a restart, too.
        ann.run(
            "window.got = []; window.opened = 0; window.source = new EventSource('/events');"
            "source.onopen = () => { opened += 1; };"
            "source.onmessage = ({ data }) => { got.push(JSON.parse(data).msg); };"
        )
        until(lambda: ann.run("return opened") == 1, "the page listens")
        box.run("systemctl restart wschat")
        bob.say("bob", "after a restart")
        until(lambda: "after a restart" in ann.run("return got"), "the stream goes on")
        assert ann.run("return opened") == 1


def check_addresses(box):
    """Through the proxy, the daemon sees the address of the client, not a forged header."""
    join(headers=FORGED)
    join(port=443, tls=HOST, headers=FORGED)
    curl = ["curl", "--silent", "--insecure", "--no-buffer", "--interface", "127.0.0.2"]
    curl += ["--resolve", f"{HOST}:443:127.0.0.1", "--header", FORGED[0]]
    events = subprocess.Popen([*curl, f"https://{HOST}/events"], stdout=subprocess.PIPE, text=True)
    assert events.stdout.readline() == "retry: 3000\n"

    def addresses():
        lines = box.out("wschat clients --json").splitlines()
        return [json.loads(line)["address"].split(":")[0] for line in lines]

    seen = until(lambda: (found := addresses()).count("127.0.0.2") >= 4 and found, "all are listed")
    assert "192.0.2.99" not in seen, seen
    assert seen.count("127.0.0.2") == 4, seen

    # The budget of a message by POST is that of the address, too.
    body = ["--data", '{"usr":"ci","msg":"by POST"}', "--header", "Content-Type: application/json"]
    say = [*curl, *body, "--write-out", "%{http_code}", f"https://{HOST}/"]
    statuses = [subprocess.check_output(say, text=True)[-3:] for _ in range(3)]
    assert statuses[0] == "200" and set(statuses) <= {"200", "429"}, statuses
    until(lambda: "by POST" in events.stdout.readline(), "the stream has it")
    events.kill()


def send_again(client):
    """Sends it again: the page may not have been connected the last time."""
    client.say("bob", "hello ann")
