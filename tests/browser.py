"""A real browser without a window, for tests of pages: Debian's chromium, driven by Playwright."""

import re
import shutil
from pathlib import Path

import pytest

SCREENSHOTS = Path(__file__).resolve().parents[1] / "output" / "screenshots"


def _chromium() -> str:
    """Path of the browser; skips the test where there is none."""
    pytest.importorskip("playwright", reason="needs playwright: pip install -e '.[dev]'")
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def chromium():
    """The browser, started once."""
    path = _chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work in containers that run as root.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium, request):
    """
    Function: (width, height) -> a new page in a session of its own.

    When the test ends, each page's screenshot is in output/screenshots/; the test fails if a page
    logged an error or asked for anything that is neither on this disk nor on this machine
    (``browse.troubles``).
    """
    pages, troubles = [], []

    def new_page(width=1400, height=900):
        page = chromium.new_context(viewport={"width": width, "height": height}).new_page()
        page.set_default_timeout(15_000)
        page.on(
            "console",
            lambda message: troubles.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: troubles.append(r.url) if not _is_local(r.url) else None)
        pages.append(page)
        return page

    new_page.troubles = troubles
    yield new_page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", request.node.name).strip("_")
    try:
        for i, page in enumerate(pages):
            page.screenshot(
                path=SCREENSHOTS / (f"{name}.png" if not i else f"{name}_{i + 1}.png"),
                full_page=True,
            )
    finally:  # a page that stays open goes on asking its server
        for page in pages:
            page.context.close()
    assert troubles == []


def _is_local(url: str) -> bool:
    return re.match(r"(file:|data:|blob:|(https?|wss?)://127\.0\.0\.1[:/])", url) is not None
