from __future__ import annotations

import asyncio

import pytest

from jobnb.work import CallWork, ExecutorCall, MapWork, load_call, load_map


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
