from __future__ import annotations

import asyncio
import pickle
import random
import threading

import cloudpickle
import pytest

from jobnb import work as jobnb_work
from jobnb.retry import GiveUp, RetryLater
from jobnb.work import CallWork, ExecutorCall, Failed, Hooked, MapWork, load_call, load_map
from jobnb.worker import context


def nothing(done: int) -> None:
    """Report to nobody."""


def test_a_call_gives_its_value() -> None:
    assert load_call([CallWork(fn=divmod, args=(7, 2)).run(0, 1, None, nothing).result]) == (3, 1)


def test_a_coroutine_is_awaited() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert load_call([CallWork(fn=later, args=(1,)).run(0, 1, None, nothing).result]) == 2


def test_spans_of_a_map_join_in_order() -> None:
    work = MapWork(fn=str, items=range(10))
    parts = [work.run(a, b, None, nothing) for a, b in ((0, 3), (3, 9), (9, 10))]
    assert load_map([p.result for p in parts]) == [str(i) for i in range(10)]


def test_a_used_up_budget_ends_after_at_least_one_item() -> None:
    part = MapWork(fn=str, items=range(10)).run(4, 10, 0.0, nothing)
    assert part.stop == 5
    assert load_map([part.result]) == ["4"]


def test_a_map_reports_each_item() -> None:
    seen: list[int] = []
    MapWork(fn=str, items=range(4)).run(1, 4, None, seen.append)
    assert seen == [1, 2, 3]


def half(x: int) -> float:
    if x == 3:
        raise ValueError("three")
    return x / 2


def test_a_part_ends_before_an_item_that_raises() -> None:
    work = MapWork(fn=half, items=range(6))
    part = work.run(1, 6, None, nothing)
    assert (part.stop, part.failed, load_map([part.result])) == (3, 0, [0.5, 1.0])
    with pytest.raises(ValueError, match="three"):
        work.run(3, 6, None, nothing)


def test_recorded_failures_stand_in_their_places() -> None:
    work = MapWork(fn=half, items=range(6), on_error="record")
    parts = [work.run(a, b, None, nothing) for a, b in ((0, 3), (3, 6))]
    values = load_map([p.result for p in parts])
    assert [p.failed for p in parts] == [0, 1]
    assert (values[:3], values[4:]) == ([0.0, 0.5, 1.0], [2.0, 2.5])
    assert (values[3].error, values[3].type) == ("three", "ValueError")
    assert "in half" in values[3].traceback
    assert "work.py" not in values[3].traceback.replace("test_work.py", "")


def busy(x: int) -> int:
    if x == 2:
        raise RetryLater("busy")
    if x == 4:
        raise GiveUp
    return x


def test_who_asks_to_be_tried_again_is_not_recorded_as_failed() -> None:
    work = MapWork(fn=busy, items=range(6), on_error="record")
    part = work.run(0, 6, None, nothing)
    assert (part.stop, part.failed, load_map([part.result])) == (2, 0, [0, 1])
    with pytest.raises(RetryLater):
        work.run(2, 6, None, nothing)
    rest = work.run(3, 6, None, nothing)
    assert (rest.stop, rest.failed) == (6, 1)
    assert load_map([rest.result])[1].error == "the job gave up: another attempt would be useless."


def locked(x: int) -> object:
    return threading.Lock() if x == 2 else x


def test_a_value_that_cannot_be_pickled_is_an_error_of_its_item() -> None:
    part = MapWork(fn=locked, items=range(4)).run(0, 4, None, nothing)
    assert (part.stop, load_map([part.result])) == (2, [0, 1])
    with pytest.raises(TypeError, match="lock") as caught:
        MapWork(fn=locked, items=range(4)).run(2, 4, None, nothing)
    assert caught.value.__context__ is None
    recorded = MapWork(fn=locked, items=range(4), on_error="record").run(0, 4, None, nothing)
    values = load_map([recorded.result])
    assert (recorded.stop, recorded.failed) == (4, 1)
    assert (values[0], values[1], values[2].type, values[3]) == (0, 1, "TypeError", 3)


def test_of_very_many_failures_the_first_keep_their_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobnb_work, "TRACEBACKS_KEPT", 2)
    part = MapWork(fn=half, items=[3] * 4, on_error="record").run(0, 4, None, nothing)
    assert [bool(f.traceback) for f in load_map([part.result])] == [True, True, False, False]
    assert "traceback" not in repr(Failed(error="x", type="ValueError", traceback="long"))


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_ends_a_map_at_once(raised: type[BaseException]) -> None:
    def stop(x: int) -> int:
        if x:
            raise raised
        return x

    for on_error in ("fail", "record"):
        with pytest.raises(raised):
            MapWork(fn=stop, items=range(3), on_error=on_error).run(0, 3, None, nothing)  # type: ignore[arg-type]


def test_hooks_run_around_the_work() -> None:
    seen: list[object] = []

    async def after(context: object) -> None:
        seen.append("after")

    hooked = Hooked(
        CallWork(fn=seen.append, args=("work",)),
        before=lambda context: seen.append("before"),
        after=after,
        on_error=lambda context, error: seen.append(error),
    )
    hooked.run(0, 1, None, nothing)
    assert seen == ["before", "work", "after"]


def test_the_hook_of_an_error_gets_it_and_it_goes_on() -> None:
    seen: list[BaseException] = []
    hooked = Hooked(
        CallWork(fn=half, args=(3,)),
        after=lambda context: seen.append(KeyError()),
        on_error=lambda context, error: seen.append(error),
    )
    with pytest.raises(ValueError, match="three"):
        hooked.run(0, 1, None, nothing)
    assert [type(e) for e in seen] == [ValueError]


@pytest.mark.parametrize("raised", [RuntimeError("mine"), SystemExit(3)])
def test_a_hook_that_raises_changes_nothing(raised: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def hook(*_: object) -> None:
        raise raised

    hooked = Hooked(CallWork(fn=int), before=hook, after=hook, on_error=hook)
    assert load_call([hooked.run(0, 1, None, nothing).result]) == 0
    assert [r.message.split(":")[0] for r in caplog.records] == ["hook before failed", "hook after failed"]
    assert "Traceback" in caplog.text
    with pytest.raises(ZeroDivisionError):
        Hooked(CallWork(fn=divmod, args=(1, 0)), on_error=hook).run(0, 1, None, nothing)


def test_hooks_travel() -> None:
    hooked = pickle.loads(cloudpickle.dumps(Hooked(CallWork(fn=int), before=lambda context: 1)))
    assert load_call([hooked.run(0, 1, None, nothing).result]) == 0


@pytest.mark.parametrize("run_sync", [True, False])
def test_an_executor_gets_params_and_a_progress_callback(run_sync: bool) -> None:
    def executor(params: dict[str, int], progress: object) -> int:
        assert callable(progress)
        progress(1, 2, "half")
        return params["x"]

    async def later(params: dict[str, int], progress: object) -> int:
        return executor(params, progress)

    call = ExecutorCall(executor=executor if run_sync else later, run_sync=run_sync)
    assert load_call([CallWork(fn=call, args=({"x": 3},)).run(0, 1, None, nothing).result]) == 3


def draw(_: int) -> float:
    return random.random()


def drawn(start: int, stop: int, seed: int) -> list[float]:
    """Run a span of a map as the child does: the seed of its task is that of the job plus the span's first item."""
    about = {"job": "j", "name": "n", "task": 0, "attempt": 1, "seed": seed + start, "start": start, "stop": stop}
    state = random.getstate()
    context.enter(context.JobContext(about, context.Meter(lambda message: None), lambda message: None))
    try:
        part = MapWork(fn=draw, items=range(10)).run(start, stop, None, nothing)
    finally:
        context.enter(None)
        random.setstate(state)
    return load_map([part.result])


def test_an_item_draws_the_same_numbers_however_the_job_is_cut() -> None:
    whole = drawn(0, 10, seed=7)
    assert [*drawn(0, 3, seed=7), *drawn(3, 9, seed=7), *drawn(9, 10, seed=7)] == whole
    assert len(set(whole)) == 10
    assert drawn(0, 10, seed=8) != whole
