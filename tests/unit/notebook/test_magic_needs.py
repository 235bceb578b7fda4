"""``%job … --needs`` and what cards and figures say of jobs that wait for an outside service, without a service."""

import functools

import pytest
from IPython.core.error import UsageError

from jobnb.job import Status
from jobnb.notebook import card_html, card_text, completion
from jobnb.service import needs


@pytest.fixture
def manager(store_manager):
    return store_manager


@pytest.fixture
def magic(shell, manager):
    shell.run_cell("def load(x=1): return x\n")
    return lambda line: shell.run_line_magic("job", line)


def test_a_card_says_for_what_a_job_waits_and_no_other_time(magic, manager):
    manager.breaker("yahoo").trip("10m")
    job = magic("submit load(1) --needs yahoo --needs kraken")
    assert job.record.options["needs"] == ["yahoo", "kraken"]
    lease = manager.store.leases.take("local", "me", 60, {"host": "elsewhere", "pid": 1})
    with manager.store.tasks.fenced(lease):
        assert needs.keeps_back(manager.store, job.record)
    assert job.status is Status.SCHEDULED
    for draw in (card_text.render, functools.partial(card_html.render, live=False)):
        shown = draw(manager.view(job.id))
        assert "waits for yahoo, which was tripped by " in shown
        assert "; again at " in shown
        assert "starts" not in shown
    assert "waits for yahoo" in repr(magic("list"))
    stands = repr(magic("status"))
    assert "breaker yahoo: open until " in stands
    assert "1 job waits for it" in stands
    assert completion.words("%job submit load(1) --needs y", {}) == ("y", ["yahoo"])


def test_a_rate_limit_is_no_need(magic, manager):
    manager.rate_limit("yahoo", "5/s")
    with pytest.raises(UsageError, match="needs takes breakers, and 'yahoo' is a rate limit"):
        magic("submit load(1) --needs yahoo")
    assert manager.records() == []
