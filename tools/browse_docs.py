# SPDX-License-Identifier: Apache-2.0
"""Open the built pages in a real browser, and say what is wrong with them.

    python tools/browse_docs.py docs/_build/html                      # exit status 1 if so
    python tools/browse_docs.py docs/_build/html --screenshots shots  # and pictures of some pages
    python tools/browse_docs.py docs/_build/html --if-there-is-one    # nothing without a browser

On every page: no error on the console, no missing image, no request to another host, nothing wider
than a phone; every internal link leads somewhere. The search finds SEARCHED, and the cheat sheet is
printed on one page. Needs Chromium and ChromeDriver (on Debian: ``apt-get install chromium
chromium-driver``) and the standard library only; speaks the WebDriver protocol itself.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

SEARCHED = (
    "GPU", "CUDA", "Lightning", "encoding", "landscape", "barren plateau", "skorch", "GridSearchCV",
    "freeze", "transfer learning", "hypernetworks", "opacus", "differential privacy", "DDP", "FSDP",
    "per-sample gradients", "hyperparameter search", "live plot", "several quantum layers",
    "TensorBoard", "MLflow", "torch.compile", "OpenQASM", "QPY", "Optuna", "noise", "shots",
    "observable", "tensor", "autograd", "glossary", "TorchConnector", "cheat sheet", "budget",
)  # fmt: skip
PICTURED = (
    "index", "start/quantum-for-pytorch", "start/pytorch-for-qiskit", "start/cheat-sheet",
    "tutorials/index", "how-tos/index", "how-tos/encode-data", "recipes/training", "help/faq",
    "explanation/exact-engine", "reference/qiskit_torch_bridge", "search.html?q=barren+plateau",
)  # fmt: skip
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
PRINTED = "start/cheat-sheet"
TITLES = "return [...document.querySelectorAll('#search-results ul.search li a')].map(a => a.text)"
SEARCHING = "return document.querySelector('#search-results h2')?.textContent ?? ''"
IMAGES = """return [...document.images].filter(i => getComputedStyle(i).display != 'none')
    .filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"""
WIDER = "return document.documentElement.scrollWidth - window.innerWidth"


class Browser:
    """A headless Chromium, driven by ChromeDriver over HTTP."""

    def __init__(self, driver: str, chromium: str) -> None:
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        self.address = f"http://127.0.0.1:{self._read_port()}"
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            # Its own affairs ask for nothing from other hosts.
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--no-first-run",
        ]  # fmt: skip
        options = {
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "pageLoadStrategy": "normal",
        }
        answer = self._post("/session", {"capabilities": {"alwaysMatch": options}})
        assert isinstance(answer, dict)
        self.address += f"/session/{answer['sessionId']}"

    def _read_port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                return int(found[1])
        raise RuntimeError("ChromeDriver did not start.")

    def _post(self, path: str, body: object) -> object:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data, headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            answer: dict[str, object] = json.load(response)
        return answer["value"]

    def open(self, address: str) -> None:
        """Load a page."""
        self._post("/url", {"url": address})

    def run(self, script: str) -> object:
        """Return what a script returns."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def command(self, name: str, **parameters: object) -> object:
        """Call the DevTools protocol."""
        return self._post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def show(self, size: tuple[int, int], scheme: str) -> None:
        """Set the size of the screen, and whether it is light or dark."""
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def read_log(self, kind: str) -> list[dict[str, object]]:
        """Return what was logged since the last call."""
        answer = self._post("/se/log", {"type": kind})
        return answer if isinstance(answer, list) else []

    def errors(self) -> Iterator[str]:
        """Yield what the console called an error."""
        for entry in self.read_log("browser"):
            if entry["level"] == "SEVERE":
                yield str(entry["message"])

    def requested(self) -> Iterator[str]:
        """Yield the addresses that were asked for."""
        for entry in self.read_log("performance"):
            message = json.loads(str(entry["message"]))["message"]
            if message["method"] == "Network.requestWillBeSent":
                yield message["params"]["request"]["url"]

    def screenshot(self, path: Path) -> None:
        """Write a picture of what is shown."""
        answer = self.command("Page.captureScreenshot", format="png")
        assert isinstance(answer, dict)
        path.write_bytes(base64.b64decode(answer["data"]))

    def count_printed_pages(self) -> int:
        """Return how many pages of paper this page takes."""
        answer = self.command("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        assert isinstance(answer, dict)
        return len(re.findall(rb"/Type\s*/Page[^s]", base64.b64decode(answer["data"])))

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            urllib.request.urlopen(
                urllib.request.Request(self.address, method="DELETE"), timeout=30
            )
        finally:
            self.process.terminate()
            self.process.wait(30)


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link or an anchor."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif tag == "a" and name == "href" and value:
                self.targets.append(value)


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def check_links(pages: Sequence[Path], folder: Path) -> Iterator[str]:
    """Yield internal links that lead nowhere."""
    read = {page: Links(page.read_text()) for page in pages}
    for page, links in read.items():
        for target in set(links.targets):
            if urlsplit(target).scheme or target.startswith("//"):
                continue
            path, anchor = urldefrag(urljoin(page.as_uri(), target))
            file = Path(unquote(urlsplit(path).path))
            if not file.exists():
                yield f"{page.relative_to(folder)}: link to {target}, which is not there"
            elif anchor and file in read and unquote(anchor) not in read[file].anchors:
                yield f"{page.relative_to(folder)}: link to {target}, which has no such anchor"


def check_pages(browser: Browser, host: str, names: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with pages as a browser sees them, at the width of a phone."""
    browser.show(SIZES["phone"], "light")
    for name in names:
        browser.open(host + name)
        missing = browser.run(IMAGES)
        assert isinstance(missing, list)
        yield from (f"{name}: no image {source}" for source in missing)
        wider = browser.run(WIDER)
        if isinstance(wider, int) and wider > 0:
            yield f"{name}: {wider} pixels wider than a phone"
        yield from (f"{name}: {error}" for error in browser.errors())
        for address in browser.requested():
            if not address.startswith((host, "data:", "blob:", "chrome:", "about:")):
                yield f"{name}: a request to {address}"


def check_search(browser: Browser, host: str) -> Iterator[str]:
    """Yield the words that the search does not find."""
    for words in SEARCHED:
        browser.open(f"{host}search.html?q={quote(words)}")
        for _ in range(100):
            if browser.run(SEARCHING) not in ("", "Searching"):
                break
            time.sleep(0.1)
        titles = browser.run(TITLES)
        if not titles:
            yield f"search: nothing found for {words!r}"


def take_pictures(browser: Browser, host: str, folder: Path) -> None:
    """Write pictures of some pages, in all sizes and schemes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURED:
        page = name if "?" in name else f"{name}.html"
        for size, scheme in ((size, scheme) for size in SIZES for scheme in SCHEMES):
            browser.show(SIZES[size], scheme)
            browser.open(host + page)
            time.sleep(1 if "?" in name else 0.3)
            file = re.sub(r"\W+", "-", name)
            browser.screenshot(folder / f"{file}-{size}-{scheme}.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at everything; print what is wrong, and return 1 if something is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the built pages")
    parser.add_argument("--screenshots", type=Path, help="a folder for pictures")
    parser.add_argument("--if-there-is-one", action="store_true", help="a browser may be missing")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and chromium):
        print("There is no chromium with a chromedriver here; nothing was looked at.")
        return 0 if given.if_there_is_one else 1
    pages = sorted(p for p in folder.rglob("*.html") if "_modules" not in p.parts)
    wrong = list(check_links(pages, folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_address[1]}/"
    browser = Browser(driver, chromium)
    try:
        wrong += check_pages(browser, host, [str(p.relative_to(folder)) for p in pages])
        wrong += check_search(browser, host)
        browser.open(f"{host}{PRINTED}.html")
        if (printed := browser.count_printed_pages()) != 1:
            wrong.append(f"{PRINTED}: takes {printed} pages of paper")
        if given.screenshots:
            take_pictures(browser, host, given.screenshots)
    finally:
        browser.close()
        server.shutdown()
    print("\n".join(wrong) or f"{len(pages)} pages, {len(SEARCHED)} searches: all is well.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
