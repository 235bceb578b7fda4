"""Both faces of a card, HTML and text, in every state."""

import math
import re
from array import array
from dataclasses import replace
from html.parser import HTMLParser

import examples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobnb.job import ErrorRecord, LogLine, Progress, Status
from jobnb.notebook import card_html, card_text, style
from jobnb.research import fold_summary, instrument_summary, tiles

VIEWS = examples.views()
#: A fold of which nothing is known.
BARE = {
    "n": 0, "in": None, "out": None, "return": None, "growth": [None], "curve": [], "start": "", "end": "",
    "params": None, "runs": 1, "failed": 1, "error": "x",
}  # fmt: skip
TAGS = {
    "section", "header", "i", "strong",
    "span", "code", "p", "b", "em", "div", "details", "summary", "pre", "svg", "path",
    "g", "rect", "table", "thead", "tbody", "tr", "th", "td", "style",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects text and complains of any tag, attribute or nesting that a card must not have."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.open = [], []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("href", "src", "xlink:href")
            assert "url(" not in (value or "")
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and "svg" not in self.open:
            self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return " ".join("".join(reader.text).split())


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("live", [True, False])
def test_every_state_is_readable_without_style_and_pictures(name, live):
    view = VIEWS[name]
    text = read(card_html.render(view, live=live, buttons=1 if live else 0, grow_from=0.1))
    assert view.job.name in text
    assert view.job.id[:4] in text
    word = "cancelling" if name == "cancelling" else view.job.status.value
    assert word in text


@pytest.mark.parametrize("name", VIEWS)
def test_text_says_the_same_words(name):
    view = VIEWS[name]
    html = read(card_html.render(view, live=False))
    for line in card_text.render(view).splitlines()[1:]:
        for part in line.strip().split(" · "):
            words = re.findall(r"[A-Za-z_]{4,}", part)
            assert all(w in html for w in words), part


def test_the_target_sentences():
    assert "4,120 of 10,011 runs · 2.9 k/s · about 0:03 left" in read(
        card_html.render(VIEWS["running sweep"], live=True)
    )
    assert "best so far sharpe_ratio 1.31 at fast=12 slow=88" in read(
        card_html.render(VIEWS["running sweep"], live=True)
    )
    assert "queued · 2nd of 5 in collection · priority high" in read(card_html.render(VIEWS["queued"], live=True))
    assert "no worker is connected" in read(card_html.render(VIEWS["queued, no worker"], live=True))
    cancelled = read(card_html.render(VIEWS["cancelled"], live=False))
    assert (
        "cancelled by you after 3:07 · 412 of 1,000 items had finished and are kept: job.result(partial=True)"
        in cancelled
    )
    failed = read(card_html.render(VIEWS["failed"], live=False))
    assert "DATA_ERROR ValueError: column “close” has 3 NaN values" in failed
    assert "in <cell 4>, line 7, in positions" in failed
    assert "run it again: %job retry 9f02" in failed
    assert "traceback · 1 frame" in failed
    assert "attempt 2 of 4 failed, next in 1:40" in read(card_html.render(VIEWS["retrying"], live=True))
    extraction = read(card_html.render(VIEWS["running extraction"], live=True))
    assert "12 of 30 steps" in extraction
    assert "12,400 records" in extraction
    assert "MSFT 2019-06-03" in extraction
    extraction = read(card_html.render(VIEWS["completed extraction"], live=False))
    assert "30 steps · 14,905 records · 2 gaps" in extraction
    assert "yfinance · bars of 1d · 2015-01-01 to 2026-11-04 · 1 symbol with bad bars" in extraction
    assert "in /home/you/prices" in extraction
    sweep = read(card_html.render(VIEWS["completed sweep"], live=False))
    assert "Best Sharpe 1.31 of 10,011 runs, buy and hold 0.88: chance alone would give about 1.13; " in sweep
    assert "deflated Sharpe 0.64 · " in sweep
    assert "overfitting probability about 0." in sweep
    assert ", from 64 of 10,011 runs" in sweep
    assert "GOOG · 2004-08-19 to 2008-10-14 · 1,047 bars · commission 0.1 % · fills at next open" in sweep


def test_a_walk_forward_says_what_is_left_out_of_sample():
    running = read(card_html.render(VIEWS["running walk-forward"], live=True))
    assert "9 of 14 windows" in running
    assert "7 of 9 windows made money · median Sharpe 0.67 out of sample · 1.49 in sample" in running
    done = VIEWS["completed walk-forward"]
    for said in (read(card_html.render(done, live=False)), card_text.render(done)):
        assert "WalkForward(train='3y', test='6M'" in said
        assert " · 14,000 runs in all · " in said
        assert "Median Sharpe 1.51 where it was chosen, 0.59 on bars it had not seen; 44 % of the growth" in said
        assert "total return out of sample" in said
    page = card_html.render(done, live=False)
    assert "equity out of sample: total return +23.1 %, max drawdown −18.3 %" in page
    assert page.count("<tr") == 7


def test_a_cross_validation_says_how_its_paths_scatter():
    said = read(card_html.render(VIEWS["completed cpcv"], live=False))
    assert "−0.12 to 0.80" in said
    assert "5 % to 95 % of 5 paths" in said
    assert "20 % of the paths have a Sharpe below 0" in said


def test_an_unfinished_walk_forward_chains_what_it_has():
    view = VIEWS["running walk-forward"]
    job = replace(view.job, status=Status.CANCELLED, finished_at=examples.NOW, cancelled_by="you")
    page = card_html.render(replace(view, job=job), live=False)
    assert "9 of 14 windows had finished and are kept" in read(page)
    assert 'aria-label="equity out of sample"' in page
    assert "median Sharpe out of sample" in read(page)


def test_a_backtest_of_several_instruments_shows_the_best_and_the_worst():
    running = read(card_html.render(VIEWS["running instruments"], live=True))
    assert "11 of 30 instruments" in running
    assert "of 11 instruments made money · mean total return" in running
    done = VIEWS["completed instruments"]
    for said in (read(card_html.render(done, live=False)), card_text.render(done)):
        assert "combined return" in said
        assert "… 19 between" in said
        assert "FAILED X<0>: ValueError: no <luck>" in said
        assert "fills at next open" in said
    page = card_html.render(done, live=False)
    assert 'aria-label="equity of 29 instruments in equal shares"' in page
    assert page.count("<tr") == 12


def test_an_unfinished_backtest_of_several_instruments_shows_what_it_has():
    view = VIEWS["running instruments"]
    job = replace(view.job, status=Status.CANCELLED, finished_at=examples.NOW, cancelled_by="you")
    for said in (
        read(card_html.render(replace(view, job=job), live=False)),
        card_text.render(replace(view, job=job)),
    ):
        assert "11 of 30 instruments had finished and are kept" in said
        assert "… 1 between" in said


def test_what_the_summary_lacks_is_left_out():
    for kind in ("backtest", "optimize", "walk_forward", "job", "map", "cell", "something new"):
        for summary in (
            None,
            {},
            {"metrics": None},
            {"best": None, "top": [], "heat": None, "errors": None},
            {"top": [{}]},
            {"kind": "folds", "points": []},
            fold_summary.summarize(kind="folds", planned=1, objective="x", maximize=True, folds=[BARE]),
            examples.instruments_summary(0, 1),
            instrument_summary.summarize(
                planned=1, rows=[{"n": 0, "symbol": "A"}], errors=[], growth=[], hold=[], curves=0
            ),
        ):
            job = examples.record(kind=kind, status=Status.COMPLETED, finished_at=examples.NOW, summary=summary)
            for view in (examples.view(job), examples.view(replace(job, status=Status.RUNNING, finished_at=None))):
                read(card_html.render(view, live=False))
                card_text.render(view)
                card_text.status_line(view)


def test_a_summary_as_the_engine_makes_it():
    """Metrics nested in the top rows, terms of the run in the job's parameters, a binned heat map."""
    job = replace(
        VIEWS["completed sweep"].job,
        params={"terms": ["no costs", "fills at next open"], "data": examples.DATA, "options": {"commission": 0.0}},
        summary={
            "runs": 40_000, "failed": 2, "objective": "sharpe_ratio", "maximize": True,
            "errors": [{"index": 3, "params": {"fast": 1}, "error": "ZeroDivisionError: no"}],
            "best": {"index": 1, "value": 1.5, "params": {"fast": 37, "slow": 40}},
            "top": [{"index": 1, "params": {"fast": 37, "slow": 40}, "value": 1.5,
                     "metrics": {"sharpe_ratio": 1.5, "total_return": 0.2, "max_drawdown": None, "trades": 4.0}}],
            "heat": {"row": "fast", "col": "slow", "rows": [0, 25, 50], "cols": [0, 20, 40],
                     "values": tiles.packed(array("f", [math.nan] * 5 + [1.5] + [math.nan] * 3).tobytes())},
            "space": [["fast", 75, 0, 74], ["slow", 60, 0, 59]],
        },
    )  # fmt: skip
    html = card_html.render(examples.view(job), live=False)
    text = read(html)
    assert "+20.0 %" in text
    assert "fills at next open" in text
    assert "a cell shows the best of about 500" in text
    assert "FAILED fast=1: ZeroDivisionError: no" in text
    assert 'x="2" y="1"' in html


hostile = st.text(min_size=1, max_size=30) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "'><svg onload=x>",
        "</style>",
        "&lt;",
        "</pre></details>",
    ]
)


@given(hostile, st.sampled_from(sorted(VIEWS)), st.data())
@settings(max_examples=150, deadline=None)
def test_no_text_of_the_user_gets_out_unescaped(text, name, data):
    view = VIEWS[name]
    error = ErrorRecord(code=text, type=text, message=text, where=text, traceback=f"{text}\nFile {text}", hint=text)
    summary = dict(view.job.summary or {})
    for key in ("params", "metrics", "options"):
        if key in summary:
            summary[key] = {**summary[key], text: text}
    if summary:
        summary |= {
            "data": {"name": text, "start": text, "end": text, "bars": 3},
            "conventions": [text],
            "objective": text,
            "errors": [{"params": {text: text}, "error": text}],
            "space": [[text, 2, text, text]],
        }
        if "best" in summary:
            summary["best"] = {"value": text, "params": {text: text}}
            summary["top"] = [{"params": {text: text}, "value": text}]
        if summary.get("heat"):
            values = data.draw(st.sampled_from([text, tiles.packed(array("f", [1.0]).tobytes())]))
            summary["heat"] = {"row": text, "col": text, "rows": [text], "cols": [text], "values": values}
        if summary.get("curve"):
            summary["curve"] = {**summary["curve"], "t": [text, text]}
    job = replace(
        view.job,
        params=dict.fromkeys(view.job.params, text) if view.job.kind == "data" else view.job.params,
        name=text, kind=view.job.kind if summary else text, note=text, queue=text, cancelled_by=text,
        error=error if view.job.error else None, summary=summary or None,
        progress=Progress(current=1, total=3, message=text),
    )  # fmt: skip
    hit = replace(view, job=job, log=(LogLine(at=examples.NOW, stream=text, text=text),))
    for live in (True, False):
        read(card_html.render(hit, live=live, trouble=text))
    shown = card_text.render(hit, trouble=text)
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\n" not in card_text.status_line(hit)


def test_terminal_control_sequences_of_a_job_are_not_obeyed():
    log = (LogLine(at=examples.NOW, stream="stdout", text="\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\rback\x08"),)
    shown = card_text.render(replace(VIEWS["running, no total"], log=log))
    assert "red" in shown
    assert not set(shown) & set("\x1b\r\x08\x07")


def test_colour_only_where_asked():
    for view in VIEWS.values():
        assert "\x1b" not in card_text.render(view)
        assert "\x1b[" in card_text.render(view, colour=True)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_updating_line_fits(width):
    for view in VIEWS.values():
        assert len(card_text.status_line(view, width=width)) <= width


def test_a_long_traceback_is_capped_at_its_end():
    long = (
        "Traceback (most recent call last):\n" + "\n".join(f'  File "x.py", line {i}' for i in range(500)) + "\nE: end"
    )
    error = ErrorRecord(code="USER_ERROR", type="E", message="end", traceback=long)
    html = card_html.render(examples.view(replace(VIEWS["failed"].job, error=error)), live=False, style=False)
    assert "line 499" in html
    assert "line 100" not in html
    assert "lines left out" in html


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", style.ACCENTS)
@pytest.mark.parametrize("which", [0, 1])
def test_accents_are_readable_on_both_grounds(name, which):
    assert contrast(style.ACCENTS[name][which], style.GROUND[which]) >= 4.5


def test_the_style_is_whole_and_fetches_nothing():
    assert style.STYLE.count("{") == style.STYLE.count("}")
    assert "url(" not in style.STYLE
    assert "@import" not in style.STYLE
    assert "prefers-reduced-motion" in style.STYLE
    assert "</" not in style.STYLE.removesuffix("</style>")


def test_the_gallery_holds_every_state(tmp_path):
    import gallery

    page = gallery.page()
    assert page.count('class="jn-card') == 2 * (len(VIEWS) + 1)  # and the panel
