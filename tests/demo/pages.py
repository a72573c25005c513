"""The demo's page in a browser, for tests: served, opened in tabs, changed by sqlite3 behind its back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

__all__ = ["FLAGS", "picture", "section", "served", "sqlite3", "tab", "three_nodes"]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"


@contextmanager
def served(database: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "entity_sync", "demo", "--port", str(port), "--database", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield next(word for word in line.split() if word.startswith("http://")), process
        finally:
            process.terminate()


def sqlite3(database: Path, statement: str) -> None:
    command = ["sqlite3", "-cmd", ".timeout 5000", str(database), statement]
    subprocess.run(command, check=True, capture_output=True)


def section(
    browser: Browser, url: str, name: str, complaints: list[str], *, width: int = 1280, scheme: str = "light"
) -> Page:
    """A tab of its own that shows this section and is live."""
    size = {"width": width, "height": 800}
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()  # type: ignore[arg-type]

    def complain(message: ConsoleMessage) -> None:
        # A socket that cannot be opened is what a restart looks like, and the browser's own words.
        if message.type in ("error", "warning") and "WebSocket connection to" not in message.text:
            complaints.append(message.text)

    page.on("console", complain)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{url}#{name}")
    expect(page.get_by_test_id("connection")).to_have_text("live")
    return page


def tab(browser: Browser, url: str, complaints: list[str], scheme: str = "light") -> Page:
    """A tab that shows the orders as they are at first."""
    page = section(browser, url, "orders", complaints, scheme=scheme)
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("3")
    return page


def picture(name: str, instead: Path) -> Path:
    """Where a picture goes: among the documents where it is asked for, else into a folder of the test."""
    return (_IMAGES if os.environ.get("ENTITY_SYNC_SCREENSHOTS") else instead) / f"{name}.png"


@contextmanager
def three_nodes(database: Path) -> Iterator[list[str]]:
    """The URLs of the pages of three nodes on an nsqd."""
    command = [sys.executable, "-m", "entity_sync", "demo", "--nodes", "3", "--broker", "nsq", "--port", "0"]
    arguments = [*command, "--database", str(database)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        said: list[str] = []
        while not said or said[-1] not in ("Ctrl-C stops everything.\n", ""):
            said.append(process.stdout.readline())
        try:
            yield re.findall(r"http://\S+/", "".join(said))
        finally:
            process.terminate()
