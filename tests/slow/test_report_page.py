"""The report's page in a real browser: nothing goes wrong, nothing is asked for, nothing is wider than the screen."""

from pathlib import Path

import pytest

from eval.html.page import write_page
from tests.browser import browser, find_browser
from tests.sample_run import sample_run

BROWSER = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no chromium here to open the page with"),
]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_opens_without_errors_or_requests_and_fits_the_screen(tmp_path: Path, width: int, dark: bool) -> None:
    page = tmp_path / "report.html"
    write_page(sample_run(), page)
    assert BROWSER is not None
    with browser(BROWSER, tmp_path / "profile") as tab:
        tab.open(page.as_uri(), width, 900, dark=dark)
        fits = tab.ask("document.documentElement.scrollWidth <= window.innerWidth")
        addresses = [told["request"]["url"] for told in tab.said("Network.requestWillBeSent")]
        errors = tab.said("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert errors == []
    assert [address for address in addresses if not address.startswith("data:")] == [page.as_uri()]
    assert fits
