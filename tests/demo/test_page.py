"""The demo in a real browser, changed by a person, by another tab, and by sqlite3."""

from __future__ import annotations

import base64
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.demo.pages import picture, served, sqlite3, tab, three_nodes

pytestmark = pytest.mark.needs("chromium", "sqlite3")


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
    sqlite3(database, "INSERT INTO orders (id, customer, item, quantity) VALUES (3, 'Gita', 'Plum cake', 5)")
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
    expect(page.get_by_test_id("order-1")).to_contain_text("elsewhere it became “from the till”")
    expect(page.get_by_test_id("order-1-note")).to_have_value("half")
    page.get_by_test_id("order-1-note").press("Escape")
    expect(page.get_by_test_id("order-1-note")).to_have_value("from the till")


def test_note_that_was_not_saved_is_kept(
    browser: Browser, database: Path, complaints: list[str], held_port: int
):
    """A note typed while the server is away is not saved, says so, stays, and is saved by Enter later."""
    with served(database, held_port) as (url, _):
        page = tab(browser, url, complaints)
    expect(page.get_by_test_id("connection")).not_to_have_text("live")
    note = page.get_by_test_id("order-1-note")
    note.fill("with seeds")
    note.press("Enter")
    expect(page.get_by_test_id("order-1")).to_contain_text("not saved")
    with served(database, held_port) as (url, _):
        expect(page.get_by_test_id("connection")).to_have_text("live", timeout=20_000)
        expect(note).to_have_value("with seeds")
        note.press("Enter")
        expect(tab(browser, url, complaints).get_by_test_id("order-1-note")).to_have_value("with seeds")


def test_every_click_counts(browser: Browser, page_url: str, complaints: list[str]):
    """Clicks that are faster than the wire are all counted."""
    page = tab(browser, page_url, complaints)
    page.get_by_test_id("order-3-increase").evaluate(
        "button => { for (let i = 0; i < 5; i++) button.click() }"
    )
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("8")


def test_text_is_text(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """Markup in a row is shown as it stands, on its card and in the log."""
    page = tab(browser, page_url, complaints)
    markup = "<img src=/healthz onerror=alert(1)>"
    sqlite3(database, f"UPDATE orders SET item = '{markup}' WHERE id = 3")
    expect(page.get_by_test_id("order-3").get_by_role("heading")).to_have_text(markup)
    expect(page.get_by_test_id("wire-log").locator("li").first).to_contain_text(markup)
    expect(page.locator("main img")).to_have_count(0)


def test_log_is_paused_cleared_and_bounded(browser: Browser, page_url: str, complaints: list[str]):
    """The log stops and empties on demand, counts on, and keeps 200 frames."""
    page = tab(browser, page_url, complaints)
    frames = page.get_by_test_id("wire-log").locator("li")
    more = page.get_by_test_id("order-3-increase")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Clear").click()
    more.click()
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("4")
    expect(frames).to_have_count(0)
    expect(page.locator("#counts")).to_contain_text("2 up")
    page.get_by_role("button", name="Pause").click()
    more.evaluate("button => { for (let i = 0; i < 120; i++) button.click() }")
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("124")
    expect(frames).to_have_count(200)


def test_network_goes_and_comes(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """Without a network the page says that it is offline; with it, it is true again."""
    page = tab(browser, page_url, complaints)
    page.context.set_offline(True)
    expect(page.get_by_test_id("connection")).to_have_text("offline")
    sqlite3(database, "UPDATE orders SET quantity = 66 WHERE id = 3")
    page.context.set_offline(False)
    expect(page.get_by_test_id("connection")).to_have_text("live", timeout=20_000)
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("66")


def test_loads_fail(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """While orders cannot be read the page keeps what it has and says that it may be old."""
    page = tab(browser, page_url, complaints)
    sqlite3(database, "ALTER TABLE orders RENAME TO hidden")
    expect(page.get_by_test_id("connection")).to_have_text("stale", timeout=20_000)
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("3")
    sqlite3(database, "ALTER TABLE hidden RENAME TO orders; UPDATE orders SET quantity = 44 WHERE id = 3")
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("44", timeout=20_000)
    expect(page.get_by_test_id("connection")).to_have_text("live", timeout=20_000)


def test_server_falls_silent(browser: Browser, database: Path, complaints: list[str]):
    """A server that says nothing for `stale_ms` makes the page stale, and its next word live again."""
    with served(database) as (url, process):
        page = tab(browser, url, complaints)
        page.clock.install()
        page.reload()
        expect(page.get_by_test_id("order-3-quantity")).to_have_text("3")
        process.send_signal(signal.SIGSTOP)
        try:
            page.clock.fast_forward(16_000)
            expect(page.get_by_test_id("connection")).to_have_text("stale")
        finally:
            process.send_signal(signal.SIGCONT)
        expect(page.get_by_test_id("connection")).to_have_text("live", timeout=20_000)


def test_nothing_moves(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """What changes inside a card, or removes its order, moves no other card."""
    page = tab(browser, page_url, complaints)
    places = (
        "[...document.querySelectorAll('.card')].map(card => JSON.stringify(card.getBoundingClientRect()))"
    )
    before = page.evaluate(places)
    sqlite3(database, "UPDATE orders SET status = 'sold', item = 'A very long name of a very large cake'")
    expect(page.get_by_test_id("order-6")).to_contain_text("very long")
    sqlite3(database, "DELETE FROM orders WHERE id = 3")
    expect(page.get_by_test_id("order-3")).to_contain_text("no longer exists")
    assert page.evaluate(places) == before


def test_server_restarts(browser: Browser, database: Path, complaints: list[str], held_port: int):
    """While the server is away the page says so; on the next one it is true again by itself."""
    with served(database, held_port) as (url, _):
        page = tab(browser, url, complaints)
    expect(page.get_by_test_id("connection")).to_have_text(re.compile(r"reconnecting in \d+ s"))
    sqlite3(database, "UPDATE orders SET quantity = 55 WHERE id = 3")
    with served(database, held_port):
        expect(page.get_by_test_id("connection")).to_have_text("live", timeout=20_000)
        expect(page.get_by_test_id("order-3-quantity")).to_have_text("55")


@pytest.mark.needs("nsqd")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_three_nodes(
    browser: Browser, database: Path, tmp_path: Path, complaints: list[str], scheme: str
):
    """An edit in the page of any of three nodes appears in all three; the README's picture shows it."""
    with three_nodes(database) as urls:
        pages = [tab(browser, url, complaints, scheme=scheme) for url in urls]
        for number, page in enumerate(pages, 1):
            expect(page.get_by_role("heading", level=1)).to_contain_text(f"node {number} of 3")
            expect(page.locator("#command")).to_contain_text(
                re.compile(" && .*entity.sync notify --broker nsq://")
            )
            page.get_by_test_id("order-3-increase").click()
            for each in pages:
                expect(each.get_by_test_id("order-3-quantity")).to_have_text(str(3 + number))
        pages[0].get_by_role("link", name="Board").click()
        expect(pages[0].locator("#command")).to_contain_text(" orders $(sqlite3 ")
        pages[0].get_by_role("link", name="Orders").click()
        for page in pages:
            page.set_viewport_size({"width": 420, "height": 640})
            page.mouse.move(0, 0)
        pages[0].get_by_test_id("order-1-increase").click()
        for page in pages:
            expect(page.get_by_test_id("order-1-quantity")).to_have_text("3")
        shots = [base64.b64encode(page.screenshot()).decode() for page in pages]
    images = "".join(
        f"<img src='data:image/png;base64,{shot}' style='border-radius: 12px'>" for shot in shots
    )
    together = browser.new_page(viewport={"width": 3 * 420 + 2 * 16, "height": 640})
    together.set_content(f"<body style='margin: 0; display: flex; gap: 16px'>{images}")
    path = picture(f"nodes-{scheme}", tmp_path)
    together.screenshot(path=path, omit_background=True)
    assert path.stat().st_size > 20_000


def test_narrow_page_fits(browser: Browser, page_url: str, tmp_path: Path, complaints: list[str]):
    """On a telephone nothing is wider than the screen."""
    page = tab(browser, page_url, complaints)
    page.set_viewport_size({"width": 360, "height": 740})
    page.screenshot(path=tmp_path / "narrow.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
