"""A view of a job in each state, with made-up numbers: for the gallery and for the tests."""

# ruff: noqa: E501
import base64
import math
import random
from array import array
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jobnb.job import ErrorRecord, JobRecord, JobView, LogLine, Priority, Progress, Status
from jobnb.notebook.panel_view import PanelView, Warned
from jobnb.research import fold_summary, instrument_summary, tiles

NOW = datetime(2026, 11, 4, 12, 4, 8, tzinfo=UTC)
DATA = {"name": "GOOG", "bars": 1047, "start": "2004-08-19", "end": "2008-10-14"}
CONVENTIONS = ["commission 0.1 %", "fills at next open", "Sharpe: daily, 252, empyrical"]


def record(**changes):
    base = JobRecord(
        id="a3d91c40",
        name="SmaCross sweep on GOOG",
        kind="optimize",
        status=Status.RUNNING,
        cluster="local",
        created_at=NOW - timedelta(seconds=2),
        started_at=NOW - timedelta(seconds=1.4),
    )
    return replace(base, **changes)


def view(job, **more):
    return JobView(job=job, now=NOW, **more)


def logged(*texts, stream="stdout"):
    at = NOW - timedelta(seconds=1)
    return tuple(LogLine(at=at, stream=stream, text=text) for text in texts)


def walk(seed, drift, n=260):
    rng = random.Random(seed)
    values = [10_000.0]
    for _ in range(n - 1):
        values.append(values[-1] * math.exp(rng.gauss(drift, 0.014)))
    return values


def curve():
    equity, hold = walk(3, 0.0022), walk(8, 0.0013)
    peak, fall = 0.0, []
    for v in equity:
        peak = max(peak, v)
        fall.append(v / peak - 1)
    return {"t": ["2004-08-19", "2008-10-14"], "equity": equity, "hold": hold, "drawdown": fall}


def heat():
    rng = random.Random(1)
    rows, cols = list(range(5, 50)), list(range(10, 200, 2))
    values = array(
        "f",
        (
            1.4 * math.exp(-(((fast - 12) / 14) ** 2) - ((slow - 87) / 55) ** 2) + rng.gauss(0, 0.08) - 0.1
            if fast < slow
            else math.nan
            for fast in rows
            for slow in cols
        ),
    )
    return {"row": "fast", "col": "slow", "rows": rows, "cols": cols, "values": tiles.packed(values.tobytes())}


BEST = {"index": 4711, "value": 1.3149, "params": {"fast": 12, "slow": 88}}


def luck():
    """Return what a sweep keeps to tell how much is luck: 64 made-up runs of which some are a little better."""
    rng = random.Random(5)
    sums = array("f")
    for run in range(64):
        for _ in range(10):
            total = rng.gauss(0.02 + 0.0014 * run, 0.09)
            sums.extend((total, 0.025 + total * total / 100))
    return {
        "moments": {"index": 4711, "count": 1046, "sharpe": 1.3149 / math.sqrt(252), "skewness": -0.3, "kurtosis": 7.1,
                    "per_year": 252.0, "hold": 0.88 / math.sqrt(252)},
        "sharpe": {"count": 10011, "sum": (2900 * 2**30), "square": (1700 * 2**30)},
        "sample": {"periods": 1046, "blocks": 10, "index": [156 * i for i in range(64)],
                   "sums": base64.b64encode(sums.tobytes()).decode()},
    }  # fmt: skip


def sweep_summary():
    top = [
        {"index": i, "params": {"fast": 12 + i % 2, "slow": 88 + 2 * i}, "value": 1.3149 - 0.012 * i,
         "total_return": 0.614 - 0.008 * i, "max_drawdown": -0.142 - 0.004 * i, "trades": 23.0 + i % 3}
        for i in range(5)
    ]  # fmt: skip
    return {
        "runs": 10011, "failed": 0, "errors": [], "best": BEST, "top": top, "heat": heat(),
        "objective": "sharpe_ratio", "maximize": True,
        "space": [["fast", 45, 5, 49], ["slow", 95, 10, 198]],
        "trail": [0.2, 0.7, 0.9, 0.9, 1.1, 1.1, 1.1, 1.25, 1.3149], "data": DATA, "conventions": CONVENTIONS,
        **luck(),
    }  # fmt: skip


def backtest_summary():
    return {
        "metrics": {
            "total_return": 0.614, "buy_and_hold_return": 0.380, "sharpe_ratio": 1.31, "max_drawdown": -0.142,
            "trades": 23.0, "win_rate": 0.52, "exposure": 0.58, "annual_return": 0.12,
        },
        "params": {"fast": 12, "slow": 88},
        "curve": curve(), "data": DATA, "conventions": CONVENTIONS,
        "options": {"initial_capital": 10_000.0, "commission": 0.001, "slippage": 0.0, "conventions": "next_open"},
    }  # fmt: skip


TRACEBACK = """Traceback (most recent call last):
  File "<cell 4>", line 7, in positions
    return bars.sma(self.fast) > bars.sma(self.slw)
           ^^^^^^^^
AttributeError: 'SmaCross' object has no attribute 'slw'
"""


def folds_summary(done=14, kind="walk-forward"):
    """Return the summary of a walk-forward of 14 windows, or of a cross-validation, with made-up numbers."""
    rng = random.Random(7)
    folds = []
    for n in range(done):
        inside, outside = 1.1 + rng.random(), rng.gauss(0.4, 0.9)
        gain = 0.06 * outside + rng.gauss(0, 0.01)
        points = [math.exp(gain * (i + 1) / 17 + rng.gauss(0, 0.01)) for i in range(16)] + [1 + gain]
        folds.append({
            "n": n, "in": inside, "out": outside, "return": gain,
            "growth": [0.9 * inside / 3, math.log1p(gain), 3.0, 0.5],
            "curve": points if kind == "walk-forward" else [],
            "start": f"{2004 + n // 2}-{'01' if n % 2 else '07'}-02", "end": f"{2005 + (n - 1) // 2}-{'06' if n % 2 else '12'}-30",
            "params": {"fast": 5 + n, "slow": 80 - 2 * n}, "runs": 1000, "failed": 0, "error": "",
        })  # fmt: skip
    stitched = None
    if done == 14:
        metrics = {"total_return": 0.231, "sharpe_ratio": 0.41, "max_drawdown": -0.183, "trades": 61.0}
        several = kind != "walk-forward"
        stitched = {
            "paths": 5 if several else 1, "metrics": metrics, "curve": None if several else curve(),
            "values": [-0.12, 0.2, 0.41, 0.55, 0.8] if several else [0.41],
        }  # fmt: skip
    return fold_summary.summarize(
        kind=kind, planned=14, objective="sharpe_ratio", maximize=True, folds=folds, stitched=stitched,
        space=[["fast", 45, 5, 49], ["slow", 95, 10, 198]],
    )  # fmt: skip


def instruments_summary(done=30, failed=0):
    """Return the summary of a backtest of 30 instruments with made-up numbers."""
    rng = random.Random(11)
    rows, growth = [], [0.0] * instrument_summary.POINTS
    for n in range(done):
        gains = [math.exp(sum(rng.gauss(0.001, 0.03) for _ in range(3))) for _ in growth]
        line = [math.prod(gains[: i + 1]) for i in range(len(gains))]
        growth = [a + b for a, b in zip(growth, line, strict=True)]
        rows.append({
            "n": n, "symbol": f"S{n:02d}", "total_return": line[-1] - 1, "buy_and_hold_return": 0.1 * n - 0.5,
            "sharpe_ratio": rng.gauss(0.4, 0.5), "max_drawdown": -0.1 - 0.02 * n, "trades": float(20 + n),
        })  # fmt: skip
    errors = [{"n": 90 + i, "symbol": f"X<{i}>", "error": "ValueError: no <luck>"} for i in range(failed)]
    hold = [done * (1 + i / 400) for i in range(instrument_summary.POINTS)]
    return instrument_summary.summarize(
        planned=30, rows=rows, errors=errors, growth=growth if done else [], hold=hold if done else [], curves=done
    )


def views():
    """Return ``{name: view}``, every state and every kind that has a face of its own."""
    sweep = record(
        plan={"type": "grid", "items": 10011}, done=4120, progress=Progress(current=4120, total=10011),
        running=2, summary={k: v for k, v in sweep_summary().items() if k in ("best", "objective", "trail", "maximize")},
    )  # fmt: skip
    walk = record(
        id="b5a09e11", name="SmaCross walk-forward on GOOG", kind="walk_forward", plan={"type": "walk_forward", "items": 14},
        params={
            "cv": "WalkForward(train='3y', test='6M', anchored=False, horizon=0, partial=True)", "search": "grid",
            "data": DATA, "terms": CONVENTIONS,
        },
    )  # fmt: skip
    basket = record(
        id="c4d81f07", name="SmaCross on prices", kind="backtest", plan={"type": "instruments", "items": 30},
        params={"params": {"fast": 12}, "data": {**DATA, "name": "prices", "instruments": 30}, "terms": CONVENTIONS},
    )  # fmt: skip
    plain = record(id="22d1aa07", name="my_simulation", kind="job")
    waiting = record(
        id="7c1f0b2e", name="load minute bars", kind="job", status=Status.QUEUED, queue="collection",
        priority=Priority.HIGH, started_at=None, created_at=NOW - timedelta(seconds=4),
    )  # fmt: skip
    ended = {"status": Status.COMPLETED, "finished_at": NOW}
    boom = ErrorRecord(
        code="DATA_ERROR", type="ValueError",
        message="column “close” has 3 NaN values, the first at 2006-03-14", where="<cell 4>, line 7, in positions",
        hint="Fill or drop them: prices.dropna()", traceback=TRACEBACK,
    )  # fmt: skip
    network = ErrorRecord(code="NETWORK_ERROR", type="ConnectionError", message="the exchange closed the connection")
    extraction = record(
        id="c01dda7a", name="AAPL, MSFT and 3 more 1d from yfinance", kind="data", plan={"type": "extract", "items": 30},
        params={
            "source": "yfinance", "symbols": "AAPL, MSFT and 3 more", "interval": "1d", "start": "2015-01-01",
            "end": "2026-11-04", "to": "/home/you/prices",
        },
        done=12, progress=Progress(current=12, total=30, message="MSFT 2019-06-03"), summary={"records": 12400, "gaps": 0},
    )  # fmt: skip
    backtest = record(id="51be7733", name="SmaCross on GOOG", kind="backtest")
    return {
        "scheduled": view(replace(waiting, status=Status.SCHEDULED, run_at=NOW + timedelta(minutes=25), queue="default")),
        "queued": view(waiting, queue_position=2, queue_length=5),
        "queued, no worker": view(replace(waiting, queue="default", priority=Priority.NORMAL, note="no worker is connected")),
        "running sweep": view(
            sweep,
            log=logged(
                "first batch: 0.061 ms per run, 6,400 runs per task", "fast=49 slow=50 made no trade", "batch 2 of 3 done"
            ),
            log_total=3,
        ),
        "running job": view(replace(plain, progress=Progress(current=3, total=8, message="downloading 2006"))),
        "running, no total": view(
            plain, log=logged("step one") + logged("DeprecationWarning: x is old", stream="stderr"), log_total=41
        ),
        "cancelling": view(replace(sweep, cancel_requested=True)),
        "completed backtest": view(
            replace(backtest, **ended, started_at=NOW - timedelta(seconds=0.04), summary=backtest_summary())
        ),
        "completed sweep": view(
            replace(sweep, **ended, started_at=NOW - timedelta(seconds=0.7), running=0, done=10011, summary=sweep_summary())
        ),
        "running walk-forward": view(replace(walk, done=9, summary=folds_summary(9))),
        "completed walk-forward": view(replace(walk, **ended, done=14, running=0, summary=folds_summary())),
        "completed cpcv": view(
            replace(
                walk, **ended, id="60de41c8", name="SmaCross cpcv on GOOG", kind="cross_validation", done=14, running=0,
                params={**walk.params, "cv": "CombinatorialPurgedCV(n_groups=6, n_test_groups=2, horizon=0, embargo=0.01)"},
                summary=folds_summary(14, "cpcv"),
            )
        ),
        "running extraction": view(extraction),
        "completed extraction": view(
            replace(
                extraction, **ended, done=30, progress=Progress(current=30, total=30),
                summary={"records": 14905, "gaps": 2, "unusable": 1},
            )
        ),
        "running instruments": view(replace(basket, done=11, summary=instruments_summary(11))),
        "completed instruments": view(
            replace(basket, **ended, done=30, failed_items=1, running=0, summary=instruments_summary(29, 1))
        ),
        "completed job": view(replace(plain, **ended), log=logged("loaded 1,047 bars", "done"), log_total=2),
        "retrying": view(
            replace(
                plain, id="e07a5512", name="fetch BTC/USDT 1m", kind="data", status=Status.RETRYING, attempt=2,
                error=network, run_at=NOW + timedelta(seconds=100), options={"max_attempts": 4},
            )
        ),
        "failed": view(replace(backtest, id="9f02dd10", **ended | {"status": Status.FAILED}, error=boom)),
        "cancelled": view(
            replace(
                plain, **ended | {"status": Status.CANCELLED}, started_at=NOW - timedelta(seconds=187), cancelled_by="you",
                kind="map", plan={"type": "map", "items": 1000}, done=412,
            )
        ),
        "cancelled sweep": view(
            replace(
                sweep, **ended | {"status": Status.CANCELLED}, cancelled_by="you",
                summary={**sweep_summary(), "runs": 4120, "heat": None},
            )
        ),
    }  # fmt: skip


def panel():
    """Return a panel of the jobs above, with a warning of each kind."""
    records = tuple(v.job for v in views().values())
    counts = {s.value: sum(r.status is s for r in records) for s in Status}
    return PanelView(
        records=records, counts=counts, dead_letters=1, service="running", workers=2, now=NOW,
        warnings=(
            Warned(what="failure rate", why="12 of the 14 jobs that ended within 1 h failed", job="9f02dd10", at=NOW),
            Warned(what="stuck", why="no sign of life for 600 s", job="22d1aa07", at=NOW),
        ),
    )  # fmt: skip
