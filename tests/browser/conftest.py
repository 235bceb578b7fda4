"""One JupyterLab for all browser tests, one Chromium, a fresh context per test, and screenshots on request."""

import os
from pathlib import Path

import pytest
from lab_kit import CHROMIUM, CHROMIUM_ARGS, Lab, Notebook

#: Milliseconds after which a page that does not get there is a failure.
PATIENCE = 30_000


def _missing():
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install -e '.[test]'"
    return "" if CHROMIUM else "there is no Chromium: apt-get install chromium, or set CHROMIUM to its path"


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A running JupyterLab with jobnb's server extension and a home of its own."""
    if reason := _missing():
        if os.environ.get("JOBNB_REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    from jobnb.manager import JobManager

    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield lab
    finally:
        lab.stop()
        if lab.home.exists():
            manager = JobManager(home=lab.home)
            manager.daemon.stop()
            manager.close()


@pytest.fixture(scope="module")
def chromium(lab):
    """A headless browser; closed with its module, because playwright's event loop would be in other tests' way."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def pages(chromium):
    """Open pages of separate browsers' profiles: ``pages()`` gives another one."""
    contexts = []

    def another():
        context = chromium.new_context(viewport={"width": 1300, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        return page

    yield another
    for context in contexts:
        context.close()


@pytest.fixture
def open_notebook(lab, pages):
    """Write a notebook and open it in a page of its own, with a kernel."""
    opened = []

    def open_one(name, *cells):
        if cells:
            lab.write(name, *cells)
        opened.append(Notebook(lab, pages(), name).open())
        return opened[-1]

    yield open_one
    for notebook in opened:
        if not notebook.page.is_closed():
            notebook.shut_down_kernel()


@pytest.fixture
def store(lab):
    """A manager of this process that looks into Lab's store; whatever still runs afterwards is cancelled."""
    from jobnb.manager import JobManager

    manager = JobManager(home=lab.home)
    yield manager
    for record in manager.records(["queued", "running", "retrying", "scheduled"]):
        manager.cancel(record.id)
    manager.close()


@pytest.fixture
def shoot():
    """Keep a picture of a page in the folder that JOBNB_SCREENSHOTS names; nothing without it."""
    folder = os.environ.get("JOBNB_SCREENSHOTS")

    def shot(page, name):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(folder) / f"{name}.png"))

    return shot
