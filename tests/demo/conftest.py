"""What the tests of the demo's page share: a database, a server on it, a browser, and its complaints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.demo.pages import FLAGS, served
from tests.support.system_programs import find


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
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the page's console and scripts complain of; nothing by the end."""
    found: list[str] = []
    yield found
    assert found == []
