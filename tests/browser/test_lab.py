"""jobnb as a researcher sees it: JupyterLab in a real browser, with a real kernel, service and cluster."""

import shutil

import pytest
from lab_kit import ROOT

pytestmark = pytest.mark.browser

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

#: A job that moves its bar by a fortieth each second and ends when the test lets it, or after 40 s.
WALK = """
%load_ext jobnb
import os, time, jobnb

def walk(gate):
    for step in range(2000):
        jobnb.progress(step, 2000, "walking")
        if os.path.exists(gate):
            print("let through")
            return step
        time.sleep(0.02)
"""


def share(notebook):
    """Return how far the bar of the first card is, in percent."""
    return notebook.outputs.locator(".jn-bar i").first.evaluate("e => parseFloat(e.style.width)")


def moves(notebook, by=1.0):
    """Wait until the first bar has moved on by some percent while no cell runs."""
    notebook.idle()
    notebook.page.wait_for_function(
        """([from, by]) => {
            const k = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const bar = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jn-bar i');
            return bar && k.status === 'idle' && parseFloat(bar.style.width) >= from + by;
        }""",
        arg=[share(notebook), by],
    )


def no_widget_is_missing(notebook):
    text = notebook.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook").inner_text()
    for trouble in ("model not found", "Loading widget", "Error displaying widget"):
        assert trouble not in text


def test_the_quickstart_from_top_to_bottom(lab, open_notebook, store, shoot):
    from playwright.sync_api import expect

    shutil.copy(ROOT / "notebooks" / "01-quickstart.ipynb", lab.root)
    notebook = open_notebook("01-quickstart.ipynb")
    notebook.run_all()
    expect(notebook.card("completed").first).to_be_visible()
    expect(notebook.card("cancelled").first).to_be_visible()
    expect(notebook.outputs.locator("svg.jn-heat").first).to_be_attached()
    no_widget_is_missing(notebook)
    for i, card in enumerate(notebook.card().all()):
        card.scroll_into_view_if_needed()
        expect(card).to_be_in_viewport()
        shoot(notebook.page, f"quickstart-{i}")
    notebook.save()
    saved = [o for o in lab.outputs(notebook.name) if "jobnb" in o.get("metadata", {})]
    assert len(saved) >= 4
    assert not [o for o in saved if WIDGET_VIEW in o["data"]]


def test_the_bar_moves_and_cancel_ends_the_job(open_notebook, store, shoot, tmp_path):
    from playwright.sync_api import expect

    notebook = open_notebook("cancel.ipynb", WALK, f"%job submit walk({str(tmp_path / 'gate')!r}) --name walk")
    notebook.run_all()
    expect(notebook.card("running")).to_be_visible()
    moves(notebook)
    shoot(notebook.page, "running")
    notebook.page.get_by_role("button", name="Cancel", exact=True).click()
    expect(notebook.card("cancelled")).to_be_visible(timeout=10_000)
    expect(notebook.page.locator(".jobnb-buttons button")).to_have_count(0)
    assert store.get("walk").status == "cancelled"
    shoot(notebook.page, "cancelled")


def test_cancel_works_while_a_cell_is_busy(open_notebook, store, shoot, tmp_path):
    from playwright.sync_api import expect

    gate, busy = tmp_path / "gate", tmp_path / "busy"
    notebook = open_notebook(
        "busy.ipynb",
        WALK,
        f"%job submit walk({str(gate)!r}) --name beside",
        f"while not os.path.exists({str(busy)!r}):\n    time.sleep(0.01)",
    )
    notebook.start_all()
    expect(notebook.card("running")).to_be_visible()
    notebook.page.get_by_role("button", name="Cancel", exact=True).click()
    # The last cell still runs: neither the job's end nor the card's news waits for it.
    expect(notebook.card("cancelled")).to_be_visible(timeout=10_000)
    assert store.get("beside").status == "cancelled"
    assert notebook.page.evaluate("() => window.__ran") is None
    shoot(notebook.page, "cancelled-beside-a-busy-cell")
    busy.touch()
    notebook.all_ran()


def test_a_reload_in_mid_run_loses_neither_the_card_nor_its_end(lab, open_notebook, store, shoot, tmp_path):
    from playwright.sync_api import expect

    gate = tmp_path / "gate"
    notebook = open_notebook("reload.ipynb", WALK, f"%job submit walk({str(gate)!r}) --name reloaded")
    notebook.run_all()
    moves(notebook)
    notebook.save()
    (mid,) = [o for o in lab.outputs(notebook.name) if "jobnb" in o.get("metadata", {})]
    assert WIDGET_VIEW in mid["data"]

    notebook.open(reset=False)
    expect(notebook.card("running")).to_be_visible()
    moves(notebook)
    shoot(notebook.page, "reloaded")
    gate.touch()
    expect(notebook.card("completed")).to_be_visible()
    shoot(notebook.page, "reloaded-completed")
    assert store.get("reloaded").status == "completed"

    # The page never heard of the display's last update; what is saved is final all the same.
    notebook.save()
    (end,) = [o for o in lab.outputs(notebook.name) if "jobnb" in o.get("metadata", {})]
    assert set(end["data"]) == {"text/html", "text/plain"}
    assert "let through" in "".join(end["data"]["text/html"])

    notebook.shut_down_kernel()
    notebook.open_without_kernel()
    expect(notebook.card("completed")).to_be_visible()
    no_widget_is_missing(notebook)
    assert notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session") is None
    shoot(notebook.page, "reopened-without-kernel")


def test_a_job_that_ends_when_notebook_and_kernel_are_gone(lab, open_notebook, store, shoot, tmp_path):
    from playwright.sync_api import expect

    gate = tmp_path / "gate"
    notebook = open_notebook("gone.ipynb", WALK, f"%job submit walk({str(gate)!r}) --name alone")
    notebook.run_all()
    moves(notebook)
    notebook.save()
    notebook.shut_down_kernel()
    gate.touch()
    store.get("alone").wait(timeout=20)
    notebook.open_without_kernel()
    expect(notebook.card("completed")).to_be_visible()
    no_widget_is_missing(notebook)
    shoot(notebook.page, "ended-while-closed")


def test_two_notebooks_see_one_job(open_notebook, store, shoot, tmp_path):
    from playwright.sync_api import expect

    one = open_notebook("one.ipynb", WALK, f"%job submit walk({str(tmp_path / 'gate')!r}) --name shared")
    one.run_all()
    two = open_notebook("two.ipynb", "%load_ext jobnb", "%job show shared", "%job list")
    two.run_all()
    expect(two.card("running").first).to_be_visible()
    moves(two)
    two.page.get_by_role("button", name="Cancel", exact=True).click()
    expect(two.card("cancelled").first).to_be_visible(timeout=10_000)
    expect(one.card("cancelled")).to_be_visible(timeout=10_000)
    shoot(two.page, "second-notebook")


def test_a_card_in_the_dark_theme(open_notebook, store, shoot, tmp_path):
    from playwright.sync_api import expect

    gate = tmp_path / "gate"
    broken = "def broken():\n    print('about to fail')\n    return 1 / 0"
    notebook = open_notebook(
        "dark.ipynb", WALK, broken, "%job submit broken()", f"%job submit walk({str(gate)!r}) --name dark", "%job list"
    )
    notebook.run_all()
    expect(notebook.card("failed").first).to_be_visible()
    expect(notebook.card("running").first).to_be_visible()
    shoot(notebook.page, "light")
    switch = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme}).then(() => true)"
    ground = "e => getComputedStyle(e).backgroundColor"
    ink = "e => getComputedStyle(e).color"
    card = notebook.card("failed").first
    light = card.evaluate(ground), card.evaluate(ink)
    try:
        notebook.page.evaluate(switch, "JupyterLab Dark")
        notebook.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
        moves(notebook)
        dark = card.evaluate(ground), card.evaluate(ink)
        shoot(notebook.page, "dark")
        gate.touch()
        expect(notebook.card("completed").first).to_be_visible()
        shoot(notebook.page, "dark-completed")
    finally:
        notebook.page.evaluate(switch, "JupyterLab Light")
    assert luminance(light[0]) > 200 > 100 > luminance(dark[0])
    assert luminance(light[1]) < 100 < 180 < luminance(dark[1])


def luminance(colour):
    """Return the mean of the channels of ``rgb(r, g, b)``, 0 to 255."""
    channels = [float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(channels) / 3
