"""A headless Chromium, driven by the WebDriver protocol through chromedriver."""

import contextlib
import json
import subprocess
import tempfile
import urllib.request

from machine import until

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
--disable-background-networking --disable-component-update --disable-sync".split()


class Page:
    """A page in its own browser window."""

    def __init__(self, driver, host):
        self.driver = driver
        self.profile = tempfile.TemporaryDirectory()
        flags = [*FLAGS, f"--user-data-dir={self.profile.name}"]
        flags.append(f"--host-resolver-rules=MAP {host} 127.0.0.1")
        wanted = {"acceptInsecureCerts": True, "goog:chromeOptions": {"args": flags}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{session['sessionId']}"

    def open(self, url):
        self._call("POST", f"{self.session}/url", {"url": url})

    def run(self, script, *args):
        """Runs a script in the page and returns its result."""
        body = {"script": script, "args": args}
        return self._call("POST", f"{self.session}/execute/sync", body)

    def close(self):
        self._call("DELETE", self.session)
        self.profile.cleanup()

    def _call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.driver + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextlib.contextmanager
def page(host):
    """Opens a page; closes it at the end of the context."""
    log = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(["chromedriver", "--port=0"], stdout=log, stderr=log)
    try:
        shown = None
        port = until(lambda: port_of(log), "chromedriver listens")
        shown = Page(f"http://127.0.0.1:{port}", host)
        yield shown
    finally:
        if shown:
            shown.close()
        process.terminate()
        process.wait()


def port_of(log):
    log.seek(0)
    _, found, rest = log.read().partition("started successfully on port ")
    return int(rest.split(".")[0]) if found else None
