"""The demo in a real browser, changed by a person, by another tab, and by sqlite3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

pytestmark = pytest.mark.needs("chromium", "sqlite3")

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


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


@pytest.fixture
def database() -> Iterator[Path]:
    # A short path of its own: it is to be read in the README's picture.
    with TemporaryDirectory(prefix="shop-") as folder:
        yield Path(folder, "bakery.sqlite3")


@pytest.fixture
def page_url(database: Path) -> Iterator[str]:
    with served(database) as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the page's console and scripts complain of; nothing by the end."""
    found: list[str] = []
    yield found
    assert found == []


def sqlite3(database: Path, statement: str) -> None:
    command = ["sqlite3", "-cmd", ".timeout 5000", str(database), statement]
    subprocess.run(command, check=True, capture_output=True)


def tab(browser: Browser, url: str, complaints: list[str], **options: object) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}, **options).new_page()  # type: ignore[arg-type]

    def complain(message: ConsoleMessage) -> None:
        # A socket that cannot be opened is what a restart looks like, and the browser's own words.
        if message.type in ("error", "warning") and "WebSocket connection to" not in message.text:
            complaints.append(message.text)

    page.on("console", complain)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    expect(page.get_by_test_id("connection")).to_have_text("live")
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("3")
    return page


def test_tabs_follow_each_other(browser: Browser, page_url: str, complaints: list[str]):
    """An edit in one tab appears in the other, in both directions."""
    first, second = tab(browser, page_url, complaints), tab(browser, page_url, complaints)
    first.get_by_test_id("order-3-increase").click()
    expect(second.get_by_test_id("order-3-quantity")).to_have_text("4")
    expect(first.get_by_test_id("order-3-quantity")).to_have_text("4")
    second.get_by_test_id("order-2-note").fill("gluten-free")
    second.get_by_test_id("order-2-note").press("Enter")
    expect(first.get_by_test_id("order-2-note")).to_have_value("gluten-free")
    second.get_by_test_id("order-3").get_by_role("button", name="ready", exact=True).click()
    chip = first.get_by_test_id("order-3").get_by_role("button", name="ready", exact=True)
    expect(chip).to_have_attribute("aria-pressed", "true")


def test_update_by_sqlite3(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """An UPDATE in the sqlite3 program appears in both tabs; DELETE shows gone, INSERT brings it back."""
    tabs = [tab(browser, page_url, complaints) for _ in range(2)]
    sqlite3(database, "UPDATE orders SET quantity = 77 WHERE id = 3")
    for page in tabs:
        expect(page.get_by_test_id("order-3-quantity")).to_have_text("77")
    sqlite3(database, "DELETE FROM orders WHERE id = 3")
    for page in tabs:
        expect(page.get_by_test_id("order-3")).to_contain_text("no longer exists")
        expect(page.get_by_test_id("order-3-increase")).to_be_disabled()
    sqlite3(database, "INSERT INTO orders VALUES (3, 'Gita', 'Plum cake', 5, 'ordered', '')")
    for page in tabs:
        expect(page.get_by_test_id("order-3")).to_contain_text("Plum cake")
        expect(page.get_by_test_id("order-3-quantity")).to_have_text("5")


def test_refused_edit_is_told(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """An edit that the application refuses shows its reason, and the page keeps showing the truth."""
    page = tab(browser, page_url, complaints)
    sqlite3(database, "UPDATE orders SET quantity = 999 WHERE id = 3")
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("999")
    page.get_by_test_id("order-3-increase").click()
    expect(page.get_by_test_id("order-3")).to_contain_text("a quantity is 0 to 999")
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("999")


def test_typing_is_not_overwritten(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """What a person is typing stays under the cursor; that it changed elsewhere is told."""
    page = tab(browser, page_url, complaints)
    page.get_by_test_id("order-1-note").press_sequentially("half")
    sqlite3(database, "UPDATE orders SET note = 'from the till' WHERE id = 1")
    expect(page.get_by_test_id("order-1")).to_contain_text("Elsewhere it became “from the till”")
    expect(page.get_by_test_id("order-1-note")).to_have_value("half")


def test_server_restarts(browser: Browser, database: Path, complaints: list[str]):
    """While the server is away the page says so; on the next one it is true again by itself."""
    with served(database) as (url, _):
        page = tab(browser, url, complaints)
    expect(page.get_by_test_id("connection")).not_to_have_text("live")
    sqlite3(database, "UPDATE orders SET quantity = 55 WHERE id = 3")
    with served(database, port=int(url.split(":")[2].strip("/"))):
        expect(page.get_by_test_id("connection")).to_have_text("live", timeout=20_000)
        expect(page.get_by_test_id("order-3-quantity")).to_have_text("55")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshot(browser: Browser, page_url: str, tmp_path: Path, complaints: list[str], scheme: str):
    """The README's pictures: the page after an edit, with the frames that carried it."""
    page = tab(browser, page_url, complaints, color_scheme=scheme)
    for quantity in ("4", "5"):
        page.get_by_test_id("order-3-increase").click()
        expect(page.get_by_test_id("order-3-quantity")).to_have_text(quantity)
    expect(page.get_by_test_id("wire-log").locator("li").first).to_be_visible()
    folder = IMAGES if os.environ.get("ENTITY_SYNC_SCREENSHOTS") else tmp_path
    path = folder / f"demo-{scheme}.png"
    page.screenshot(path=path, animations="disabled")
    assert path.stat().st_size > 20_000


def test_narrow_page_fits(browser: Browser, page_url: str, tmp_path: Path, complaints: list[str]):
    """On a telephone nothing is wider than the screen."""
    page = tab(browser, page_url, complaints)
    page.set_viewport_size({"width": 360, "height": 740})
    page.screenshot(path=tmp_path / "narrow.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
