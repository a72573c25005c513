"""The page's other sections in a real browser: the board, the reports, two users, and who watches what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.demo.pages import picture, section, served, sqlite3

pytestmark = pytest.mark.needs("chromium", "sqlite3")


def lane(page: Page, status: str) -> Locator:
    """The customers of a lane, in order."""
    return page.get_by_test_id(f"lane-{status}").locator(".customer")


def open_panel(page: Page) -> None:
    page.get_by_role("button", name="Who watches what").click()


def view(page: Page, name: str) -> Locator:
    """A line of the panel."""
    return page.get_by_test_id(f"view-{name}")


def frames(page: Page, event: str) -> Locator:
    return page.get_by_test_id("wire-log").locator(f".event-{event}")


def test_order_is_added_and_moved_in_a_page(browser: Browser, page_url: str, complaints: list[str]):
    """An order that one tab adds and moves stands in both at its place; the keyboard goes along with it."""
    first, second = (section(browser, page_url, "board", complaints) for _ in range(2))
    first.get_by_label("Customer").fill("Cora")
    first.get_by_label("Item").fill("Plum cake")
    first.get_by_role("spinbutton", name="Quantity").fill("2")
    first.get_by_role("spinbutton", name="Quantity").press("Enter")
    for page in (first, second):
        expect(lane(page, "ordered")).to_have_text(["Chiara", "Cora", "Farid"])
        expect(page.get_by_test_id("ticket-7")).to_contain_text("×2")
    expect(first.get_by_label("Customer")).to_be_focused()
    expect(first.get_by_label("Customer")).to_have_value("")
    move = first.get_by_test_id("ticket-7").get_by_role("button", name="to baking")
    move.focus()
    move.press("Enter")
    for page in (first, second):
        expect(lane(page, "ordered")).to_have_text(["Chiara", "Farid"])
        expect(lane(page, "baking")).to_have_text(["Bruno", "Cora", "Dev"])
    expect(first.get_by_test_id("ticket-7").get_by_role("button", name="to ready")).to_be_focused()


def test_order_is_added_and_moved_by_sqlite3(
    browser: Browser, page_url: str, database: Path, complaints: list[str]
):
    """INSERT, UPDATE and DELETE in the sqlite3 program put an order into both tabs, move it, take it out."""
    tabs = [section(browser, page_url, "board", complaints) for _ in range(2)]
    sqlite3(database, "INSERT INTO orders (customer, item, quantity) VALUES ('Cora', 'Plum cake', 2)")
    for page in tabs:
        expect(lane(page, "ordered")).to_have_text(["Chiara", "Cora", "Farid"])
    sqlite3(database, "UPDATE orders SET status = 'ready' WHERE customer = 'Cora'")
    for page in tabs:
        expect(lane(page, "ordered")).to_have_text(["Chiara", "Farid"])
        expect(lane(page, "ready")).to_have_text(["Amara", "Cora"])
    sqlite3(database, "DELETE FROM orders WHERE status = 'ready'")
    for page in tabs:
        expect(page.get_by_test_id("lane-ready")).to_contain_text("none")


def test_long_lane_is_sent_as_deltas(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """Of a long lane only what differs comes, and is put where it belongs, without asking for the whole."""
    page = section(browser, page_url, "board", complaints)
    names = [f"Customer {number:02}" for number in range(20)]
    values = ", ".join(f"('{name}', 'Plum cake', 1, 'ready')" for name in names[::2])
    sqlite3(database, f"INSERT INTO orders (customer, item, quantity, status) VALUES {values}")
    expect(lane(page, "ready")).to_have_text(["Amara", *names[::2]])
    page.get_by_role("button", name="Clear").click()
    sqlite3(database, "UPDATE orders SET customer = 'Customer 19' WHERE customer = 'Customer 04'")
    expect(lane(page, "ready")).to_have_text(["Amara", names[0], names[2], *names[6::2], names[19]])
    sqlite3(database, "UPDATE orders SET status = 'sold' WHERE customer IN ('Amara', 'Customer 10')")
    expect(lane(page, "ready")).to_have_text([names[0], names[2], *names[6:10:2], *names[12::2], names[19]])
    expect(lane(page, "sold")).to_have_text(["Amara", "Customer 10", "Elif"])
    expect(frames(page, "delta").first).to_be_visible()
    expect(frames(page, "resync")).to_have_count(0)


def test_refused_order_is_told(browser: Browser, page_url: str, complaints: list[str]):
    """An order that the application refuses is not added; its reason is shown, and what was typed stays."""
    page = section(browser, page_url, "board", complaints)
    page.get_by_label("Customer").fill("   ")
    page.get_by_label("Item").fill("Plum cake")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#board-hint")).to_have_text("a customer has 1 to 40 characters")
    expect(page.get_by_label("Item")).to_have_value("Plum cake")


def test_author_is_renamed(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """A new name, from a page or from sqlite3, is in every report of that author, in both tabs."""
    tabs = [section(browser, page_url, "report", complaints) for _ in range(2)]
    tabs[0].get_by_label("Author 1").fill("Nadia Rahal")
    tabs[0].get_by_label("Author 1").press("Enter")
    for page in tabs:
        for report in ("report-1", "report-2"):
            expect(page.get_by_test_id(report)).to_contain_text("by Nadia Rahal")
        expect(page.get_by_test_id("report-3")).to_contain_text("by Sami")
        expect(page.get_by_label("Author 1")).to_have_value("Nadia Rahal")
        expect(page.get_by_test_id("report-1")).to_contain_text("users/1")
    sqlite3(database, "UPDATE users SET name = 'Sami Aalto' WHERE id = 2")
    for page in tabs:
        expect(page.get_by_test_id("report-3")).to_contain_text("by Sami Aalto")


def test_users_see_their_own_rows(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """Two users of two branches side by side: each sees the shelf of their own branch alone, live."""
    page = section(browser, page_url, "branches", complaints)
    left, right = page.get_by_test_id("left"), page.get_by_test_id("right")
    expect(left.locator(".shelf .name")).to_have_text(["Apple strudel", "Carrot cake", "Plum tart"])
    expect(right.locator(".shelf .name")).to_have_text(["Almond torte", "Cheesecake", "Semolina slice"])
    sell = left.get_by_role("button", name="Sell a piece of Carrot cake")
    sell.focus()
    sell.press("Enter")
    expect(left.get_by_test_id("cake-2").locator(".pieces")).to_have_text("4")
    expect(sell).to_be_focused()
    sqlite3(database, "UPDATE cakes SET branch = 'south' WHERE name = 'Plum tart'")
    expect(left.locator(".shelf .name")).to_have_text(["Apple strudel", "Carrot cake"])
    expect(right.locator(".shelf .name")).to_have_text(
        ["Almond torte", "Cheesecake", "Plum tart", "Semolina slice"]
    )


def test_rights_are_granted_and_withdrawn(browser: Browser, page_url: str, complaints: list[str]):
    """What one user may not see is denied, appears when its owner shares it, and is gone when they do not."""
    page = section(browser, page_url, "branches", complaints)
    left, right = page.get_by_test_id("left"), page.get_by_test_id("right")
    share = left.get_by_role("switch", name="Shared with the other branch")
    expect(left.locator(".recipe")).to_contain_text("Feed the starter")
    for _ in range(2):
        expect(right.locator(".recipe")).to_contain_text("Not for you")
        share.click()
        expect(right.locator(".recipe")).to_contain_text("Feed the starter")
        expect(right.get_by_text("Not for you")).to_be_hidden()
        expect(share).to_have_attribute("aria-checked", "true")
        expect(right.get_by_role("switch")).to_be_hidden()
        share.click()
        expect(right.get_by_text("Not for you")).to_be_visible()
        expect(share).to_have_attribute("aria-checked", "false")
        assert "starter" not in (right.locator(".recipe").text_content() or "")


def test_connection_becomes_somebody_else(browser: Browser, page_url: str, complaints: list[str]):
    """Another secret on an open connection shows what is the new user's; a wrong one nothing at all."""
    page = section(browser, page_url, "branches", complaints)
    right = page.get_by_test_id("right")
    who = right.get_by_label("Signed in as")
    expect(right.locator(".shelf .name").first).to_have_text("Almond torte")
    who.select_option("Nadia, north")
    expect(right.locator(".shelf .name")).to_have_text(["Apple strudel", "Carrot cake", "Plum tart"])
    expect(right.locator(".recipe")).to_contain_text("Feed the starter")
    who.select_option("a wrong secret")
    expect(right.locator(".pill")).to_have_text("refused")
    expect(right.locator(".shelf .name")).to_have_count(0)
    expect(right.get_by_text("Not for you", exact=True)).to_be_visible()
    who.select_option("a guest")
    expect(right.locator(".pill")).to_have_text("live")
    expect(right.locator(".shelf .name")).to_have_count(0)
    who.select_option("Sami, south")
    expect(right.locator(".shelf .name").first).to_have_text("Almond torte")
    expect(right.get_by_text("Not for you")).to_be_visible()
    expect(page.get_by_test_id("left").locator(".shelf .name").first).to_have_text("Apple strudel")


def test_users_come_back_after_a_restart(
    browser: Browser, database: Path, complaints: list[str], held_port: int
):
    """After a restart each connection says again who it is, and shows what changed meanwhile."""
    with served(database, held_port) as (url, _):
        page = section(browser, url, "branches", complaints)
        expect(page.get_by_test_id("left").locator(".shelf .name")).to_have_count(3)
    sqlite3(database, "UPDATE cakes SET pieces = 99 WHERE id = 1")
    with served(database, held_port):
        for side in ("left", "right"):
            pill = page.get_by_test_id(side).locator(".pill")
            expect(pill).to_have_text("live", timeout=20_000)
        expect(page.get_by_test_id("cake-1").locator(".pieces")).to_have_text("99")
        expect(page.get_by_test_id("right").get_by_text("Not for you")).to_be_visible()


def test_panel_follows(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """Who watches what: subscribers and revs follow as tabs come, watch something else, and leave."""
    page = section(browser, page_url, "orders", complaints)
    open_panel(page)
    cells = view(page, "orders-3").locator("td")
    expect(cells).to_have_text(["everyone", "1", "1", re.compile(r"\d+"), "ready"])
    other = section(browser, page_url, "orders", complaints)
    expect(cells.nth(1)).to_have_text("2")
    sqlite3(database, "UPDATE orders SET quantity = 4 WHERE id = 3")
    expect(cells.nth(2)).to_have_text("2")
    other.get_by_role("link", name="Branches").click()
    expect(cells.nth(1)).to_have_text("1")
    expect(view(page, "shelf-today").locator("td:nth-child(2)")).to_have_text(["north", "south"])
    expect(view(page, "recipes-1").locator("td").first).to_have_text("those allowed")
    other.close()
    expect(view(page, "shelf-today")).to_have_count(0)
    expect(page.get_by_test_id("views-total")).to_have_text("7 views, 7 subscriptions on this node")


def test_what_is_held_is_not_sent_again(browser: Browser, page_url: str, complaints: list[str]):
    """A section that is not shown is not watched; shown again, its versions say that it holds the rows."""
    page = section(browser, page_url, "orders", complaints)
    expect(page.get_by_test_id("order-6")).to_contain_text("Oat biscuits")
    page.get_by_role("link", name="Board").click()
    expect(lane(page, "ordered")).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("link", name="Orders").click()
    expect(frames(page, "current")).to_have_count(6)
    expect(frames(page, "snapshot")).to_have_count(0)
    expect(page.get_by_test_id("order-3-quantity")).to_have_text("3")
    page.go_back()
    expect(lane(page, "ordered")).to_have_text(["Chiara", "Farid"])


def test_text_is_text_everywhere(browser: Browser, page_url: str, database: Path, complaints: list[str]):
    """Markup in rows and in ids that others chose is shown as it stands, in every section."""
    markup = "<img src=/healthz onerror=alert(1)>"
    for table, column in [("orders", "customer"), ("users", "name"), ("cakes", "name"), ("recipes", "body")]:
        sqlite3(database, f"UPDATE {table} SET {column} = '{markup}' WHERE id = 1")
    places = {
        "board": "[data-testid=ticket-1] .customer",
        "report": "[data-testid=report-1] .by",
        "branches": "[data-testid=left] .recipe p >> nth=0",
    }
    for name, place in places.items():
        page = section(browser, page_url, name, complaints)
        expect(page.locator(f"#{name} {place}")).to_have_text(re.compile("<img"))
        expect(page.locator("main img")).to_have_count(0)
    page = section(browser, page_url, "orders", complaints)
    page.evaluate(
        """(id) => {
            const socket = new WebSocket(`ws://${location.host}/ws/entity-sync/`, "entity-sync.v2");
            const body = { entity: "board", id };
            socket.onopen = () => socket.send(JSON.stringify({ action: "subscribe", body }));
        }""",
        markup,
    )
    open_panel(page)
    expect(page.locator("#views")).to_contain_text(markup)
    expect(page.locator("main img")).to_have_count(0)


def test_sections_fit(browser: Browser, page_url: str, complaints: list[str]):
    """On a desk and on a telephone nothing is wider than the screen, and every control has a name."""
    page = section(browser, page_url, "orders", complaints)
    open_panel(page)
    expect(view(page, "about-demo")).to_be_visible()
    nameless = """[...document.querySelectorAll("button, input, select, a")].filter((control) =>
        !(control.textContent.trim() || control.getAttribute("aria-label") || control.labels?.length))"""
    for name in ("Orders", "Board", "Reports", "Branches"):
        page.get_by_role("link", name=name, exact=True).click()
        for width in (1280, 760, 390, 360):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        assert page.evaluate(f"{nameless}.map((control) => control.outerHTML)") == []


@pytest.mark.parametrize("width", [1280, 390])
def test_page_starts_at_its_top(browser: Browser, page_url: str, complaints: list[str], width: int):
    """A link to a section shows the page from the top, however long the section is."""
    page = section(browser, page_url, "orders", complaints, width=width)
    expect(page.get_by_test_id("order-6")).to_contain_text("Oat biscuits")
    assert page.evaluate("document.documentElement.scrollHeight > innerHeight && scrollY === 0")
    page.get_by_role("link", name="Reports").click()
    expect(page.get_by_test_id("report-1")).to_be_visible()
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_picture_of_the_board(
    browser: Browser, page_url: str, database: Path, *, tmp_path: Path, complaints: list[str], scheme: str
):
    """The README's picture: an order was added, another moved, and the wire tells what that took."""
    page = section(browser, page_url, "board", complaints, scheme=scheme)
    for row in ("'Gita', 'Rye rolls', 'baking', 6", "'Hugo', 'Fruit loaf', 'ready', 1"):
        sqlite3(database, f"INSERT INTO orders (customer, item, status, quantity) VALUES ({row})")
    expect(lane(page, "ready")).to_have_text(["Amara", "Hugo"])
    page.get_by_label("Customer").fill("Cora")
    page.get_by_label("Item").fill("Plum cake")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(lane(page, "ordered")).to_have_text(["Chiara", "Cora", "Farid"])
    page.get_by_test_id("ticket-2").get_by_role("button", name="to ready").click()
    expect(lane(page, "ready")).to_have_text(["Amara", "Bruno", "Hugo"])
    expect(lane(page, "baking")).to_have_text(["Dev", "Gita"])
    page.mouse.move(0, 0)
    path = picture(f"board-{scheme}", tmp_path)
    page.screenshot(path=path, animations="disabled")
    assert path.stat().st_size > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_picture_of_the_branches(
    browser: Browser, page_url: str, *, tmp_path: Path, complaints: list[str], scheme: str
):
    """The README's picture: two users side by side, and who watches what."""
    page = section(browser, page_url, "branches", complaints, scheme=scheme)
    open_panel(page)
    expect(page.get_by_test_id("cake-2").locator(".pieces")).to_have_text("5")
    page.get_by_test_id("left").get_by_role("button", name="Sell a piece of Carrot cake").click()
    expect(page.get_by_test_id("cake-2").locator(".pieces")).to_have_text("4")
    expect(view(page, "shelf-today").locator("td:nth-child(4)")).to_have_text(["2", "1"])
    page.mouse.move(0, 0)
    path = picture(f"branches-{scheme}", tmp_path)
    page.screenshot(path=path, animations="disabled")
    assert path.stat().st_size > 20_000
