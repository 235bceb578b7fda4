"""``%job … --after`` and what cards say of jobs that wait for others, on a real store without a service."""

import functools

import pytest
from IPython.core.error import UsageError

from jobnb.job import Status
from jobnb.notebook import card_html, card_text


@pytest.fixture
def manager(store_manager):
    return store_manager


@pytest.fixture
def magic(shell, manager):
    shell.run_cell("def load(x=1): return x\ndef enough(x): return x > 1\n")
    return lambda line: shell.run_line_magic("job", line)


def links(manager, job):
    return [(each.id, each.wanted, each.given) for each in manager.store.chains.parents(job.id)]


def test_after_takes_ids_names_and_variables(magic, manager, shell):
    first = magic("submit load(1) --name one -o a")
    second, third = magic("submit load(2) --name two"), magic("submit load(3)")
    job = magic(f"submit load(4) --after a,two --after {third.id[:6]}")
    assert links(manager, job) == [(each.id, "success", False) for each in (first, second, third)]
    assert job.status is Status.SCHEDULED
    alarm = magic("submit load(5) --after a --after-on failure")
    assert links(manager, alarm) == [(first.id, "failure", False)]
    anyhow = magic("submit load(6) --after a --on-parent-failure run")
    assert links(manager, anyhow) == [(first.id, "any", False)]
    again = magic(f"rerun {first.id} --after two")
    assert links(manager, again) == [(second.id, "success", False)]


def test_a_job_among_the_arguments(magic, manager):
    first = magic("submit load(1) -o a")
    job = magic("submit load(a) --condition @enough")
    assert links(manager, job) == [(first.id, "success", True)]
    assert job.params == {"0": f"<Job {first.id}>"}
    cell = magic("submit load(x=[a]) --condition enough")
    assert links(manager, cell) == [(first.id, "success", True)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("submit load(1) --after nothing", "unknown job 'nothing'"),
        ("submit load(1) --after a --after-on sucess", "Did you mean 'success'"),
        ("submit load(1) --after-on failure", "after_on='failure' goes with after"),
        ("submit load(1) --condition @enough", "condition is asked about the results of parents"),
        ("submit load(a) --condition @enuogh", "Did you mean 'enough'"),
        ("schedule s 1h --after a -- load(1)", "after is not for a schedule: its runs come by time"),
        ("schedule s 1h -- load(a)", "Give them the value: job.result()"),
    ],
)
def test_what_makes_no_sense_enqueues_nothing(magic, manager, line, said):
    magic("submit load(1) -o a")
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace(")", r"\)").replace("[", r"\[")):
        magic(line)
    assert len(manager.records()) == 1
    assert not manager.schedules()


def test_cards_say_what_is_waited_for_and_why_it_was_cancelled(magic, manager):
    first = magic("submit load(1) --name one -o a")
    job = magic("submit load(a) --name two")
    waits = f"waits for {first.id} (one)"
    for draw in (card_text.render, functools.partial(card_html.render, live=False)):
        shown = draw(manager.view(job.id))
        assert waits in shown
        assert "starts later" not in shown
    assert waits in repr(magic("list"))
    first.cancel()
    why = f"cancelled because its parent {first.id} (one) was cancelled by "
    for draw in (card_text.render, functools.partial(card_html.render, live=False)):
        assert why in draw(manager.view(job.id))
    assert job.result.error.startswith(why)
    assert f"cancelled because its parent {first.id}" in repr(magic("list"))
