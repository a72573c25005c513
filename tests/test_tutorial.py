"""The pages in a browser that the documents show: the README's, and docs/fastapi.md before and after."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.demo.conftest import browser  # noqa: F401 - a fixture
from tests.test_documents import source

pytestmark = [pytest.mark.source, pytest.mark.needs("chromium")]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "fastapi.md"


def lines(name: str) -> list[str]:
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n```diff\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def version(name: str, without: str) -> str:
    """The file before (without the + lines) or after (without the - lines)."""
    return "\n".join(line[1:] for line in lines(name) if not line.startswith(without)) + "\n"


@contextmanager
def served(folder: Path, application: str) -> Iterator[str]:
    """The URL of an application in this folder, served as the documents say."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        command = [sys.executable, "-m", "uvicorn", application, "--fd", str(listening.fileno())]
        with subprocess.Popen(
            command, cwd=folder, pass_fds=[listening.fileno()], stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                process.terminate()


@pytest.fixture(params=["before", "after"])
def application(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of the tutorial's application."""
    for name in ("shop.py", "page.html"):
        (tmp_path / name).write_text(version(name, "+" if request.param == "before" else "-"))
    with served(tmp_path, "shop:app") as url:
        yield url


def opened(browser: Browser, url: str, customer: str) -> Page:  # noqa: F811
    page = browser.new_context().new_page()
    page.goto(f"{url}/?customer={customer}")
    return page


def test_readme(browser: Browser, tmp_path: Path):  # noqa: F811
    """The README's two files, saved as it says, are a page that follows its row."""
    for name in ("main.py", "page.html"):
        (tmp_path / name).write_text(source("README.md", name))
    with served(tmp_path, "main:app") as url:
        page = browser.new_context().new_page()
        page.goto(url)
        expect(page.locator("body")).to_have_text("4")
        httpx.put(f"{url}/prices/tea?value=5").raise_for_status()
        expect(page.locator("body")).to_have_text("5")


def complaint(browser: Browser, url: str) -> str:  # noqa: F811
    """The first error that a page writes to its console of what a server said."""
    page = browser.new_context().new_page()
    page.add_init_script("localStorage.setItem('token', 'a-token')")
    with page.expect_console_message(lambda message: "unknown_entity" in message.text) as said:
        page.goto(url)
    return said.value.type


def test_readme_mistake(browser: Browser, tmp_path: Path):  # noqa: F811
    """What the README's page asks for in vain is in the browser's console."""
    (tmp_path / "main.py").write_text(source("README.md", "main.py"))
    (tmp_path / "page.html").write_text(source("README.md", "page.html").replace('"prices"', '"price"'))
    with served(tmp_path, "main:app") as url:
        assert complaint(browser, url) == "error"


def test_tutorial_mistake(browser: Browser, tmp_path: Path):  # noqa: F811
    """So it is of the page of docs/fastapi.md."""
    (tmp_path / "shop.py").write_text(version("shop.py", "-"))
    (tmp_path / "page.html").write_text(version("page.html", "-").replace('"customer_orders"', '"order"'))
    with served(tmp_path, "shop:app") as url:
        assert complaint(browser, url) == "error"


def assert_pale_while_its_load_fails(page: Page, shown: str, url: str) -> None:
    """A change after which nothing can be loaded, and one that ends that, as a reader of the page sees it."""
    expect(page.locator(shown)).to_have_css("opacity", "1")
    with page.expect_console_message(lambda message: '"reason":"load"' in message.text) as said:
        httpx.put(url.format(bad="bad")).raise_for_status()
    assert said.value.type == "error"
    expect(page.locator(shown)).to_have_css("opacity", "0.5")
    httpx.put(url.format(bad="good")).raise_for_status()
    expect(page.locator(shown)).to_have_css("opacity", "1")


def failing(text: str, name: str, condition: str) -> str:
    """The source of an application, in which this loader raises under this condition."""
    found = re.search(rf"^async def {name}\(.*\n", text, re.MULTILINE)
    assert found is not None
    return text.replace(found[0], f'{found[0]}    assert {condition}, "on purpose"\n')


def test_readme_load_fails(browser: Browser, tmp_path: Path):  # noqa: F811
    """The README's page tells of a load that fails, by the console and by its look, and when that is over."""
    text = (
        source("README.md", "main.py")
        .replace("value: int", "value: str")
        .replace("str, int]", "str, str | int]")
    )
    (tmp_path / "main.py").write_text(failing(text, "price", 'prices["tea"] != "bad"'))
    (tmp_path / "page.html").write_text(source("README.md", "page.html"))
    with served(tmp_path, "main:app") as url:
        page = browser.new_context().new_page()
        page.goto(url)
        expect(page.locator("body")).to_have_text("4")
        assert_pale_while_its_load_fails(page, "body", f"{url}/prices/tea?value={{bad}}")
        expect(page.locator("body")).to_have_text("good")


def test_tutorial_load_fails(browser: Browser, tmp_path: Path):  # noqa: F811
    """So does that of docs/fastapi.md."""
    text = version("shop.py", "-").replace("yield order", 'assert order.status != "bad"; yield order')
    (tmp_path / "shop.py").write_text(text)
    (tmp_path / "page.html").write_text(version("page.html", "-"))
    with served(tmp_path, "shop:app") as url:
        page = opened(browser, url, "ann")
        expect(page.get_by_role("listitem")).to_have_count(0)
        httpx.post(f"{url}/orders?customer=ann").raise_for_status()
        expect(page.get_by_role("listitem")).to_have_text(["1: new"])
        assert_pale_while_its_load_fails(page, "#orders", f"{url}/orders/1?status={{bad}}")


SIGNED_IN = """
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from rights import order, orders, sync

app = FastAPI(lifespan=sync.lifespan)
app.mount("/live", sync)
script = open("sign-in.js").read()

@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse(f"<script type='module'>{script}</script>")

@app.put("/orders/1")
async def change(status: str) -> None:
    orders[1]["status"] = status
    await order.notify(1)
"""


def test_sign_in(browser: Browser, tmp_path: Path):  # noqa: F811
    """The script of docs/rights.md shows an order to whom it belongs, and says so to anybody else."""
    (tmp_path / "rights.py").write_text(source("docs/rights.md", "rights"))
    (tmp_path / "sign-in.js").write_text(source("docs/rights.md", "sign-in.js"))
    (tmp_path / "main.py").write_text(SIGNED_IN)
    with served(tmp_path, "main:app") as url:
        pages = [browser.new_context().new_page() for _ in range(2)]
        for page, token in zip(pages, ("a-token", "b-token"), strict=True):
            page.add_init_script(f"localStorage.setItem('token', '{token}')")
            page.goto(url)
        expect(pages[0].locator("body")).to_have_text("new")
        expect(pages[1].locator("body")).to_have_text("not for you")
        httpx.put(f"{url}/orders/1?status=baked").raise_for_status()
        expect(pages[0].locator("body")).to_have_text("baked")


def test_sign_in_load_fails(browser: Browser, tmp_path: Path):  # noqa: F811
    """So does the script of docs/rights.md."""
    text = source("docs/rights.md", "rights")
    (tmp_path / "rights.py").write_text(failing(text, "order", 'orders[id]["status"] != "bad"'))
    (tmp_path / "sign-in.js").write_text(source("docs/rights.md", "sign-in.js"))
    (tmp_path / "main.py").write_text(SIGNED_IN)
    with served(tmp_path, "main:app") as url:
        page = browser.new_context().new_page()
        page.add_init_script("localStorage.setItem('token', 'a-token')")
        page.goto(url)
        expect(page.locator("body")).to_have_text("new")
        assert_pale_while_its_load_fails(page, "body", f"{url}/orders/1?status={{bad}}")


def test_sign_in_mistake(browser: Browser, tmp_path: Path):  # noqa: F811
    """What its script asks for in vain is in the browser's console."""
    (tmp_path / "rights.py").write_text(source("docs/rights.md", "rights"))
    (tmp_path / "sign-in.js").write_text(
        source("docs/rights.md", "sign-in.js").replace('"orders"', '"order"')
    )
    (tmp_path / "main.py").write_text(SIGNED_IN)
    with served(tmp_path, "main:app") as url:
        assert complaint(browser, url) == "error"


def test_at_most_forty_lines():
    """What the tutorial adds, in both files."""
    added = [line for name in ("shop.py", "page.html") for line in lines(name) if line.startswith("+")]
    assert 20 < len(added) <= 40


@pytest.mark.parametrize("application", ["before"], indirect=True)
def test_before(application: str, browser: Browser):  # noqa: F811
    """The application works as it is, and shows what was there when the page was opened."""
    made = httpx.post(f"{application}/orders?customer=ann", timeout=30)  # it may still be starting
    assert made.json()["id"] == 1
    ann = opened(browser, application, "ann")
    expect(ann.get_by_role("listitem")).to_have_text(["1: new"])
    assert httpx.get(f"{application}/orders?customer=ann").json() == [
        {"id": 1, "customer": "ann", "status": "new"}
    ]


@pytest.mark.parametrize("application", ["after"], indirect=True)
def test_after(application: str, browser: Browser):  # noqa: F811
    """Open pages follow every request of the application's own routes, and no transaction that failed."""
    ann, other, bob = (opened(browser, application, who) for who in ("ann", "ann", "bob"))
    for page in (ann, other, bob):
        expect(page.get_by_role("listitem")).to_have_count(0)
    for number in (1, 2):
        httpx.post(f"{application}/orders?customer=ann").raise_for_status()
        for page in (ann, other):
            expect(page.get_by_role("listitem")).to_have_count(number)
    assert httpx.put(f"{application}/orders/1?status=lost").status_code == 409
    httpx.put(f"{application}/orders/2?status=baked").raise_for_status()
    for page in (ann, other):
        expect(page.get_by_role("listitem")).to_have_text(["1: new", "2: baked"])
    httpx.put(f"{application}/orders/2?customer=bob").raise_for_status()
    expect(ann.get_by_role("listitem")).to_have_text(["1: new"])
    expect(bob.get_by_role("listitem")).to_have_text(["2: baked"])
    assert "margin" not in ann.content()
