"""``%job queue`` and ``%job queues``, on a real store without a service."""

import pytest
from IPython.core.error import UsageError

from jobnb.notebook import completion
from jobnb.queueing import Queue


@pytest.fixture
def manager(store_manager):
    return store_manager


@pytest.fixture
def magic(shell, manager):
    shell.run_cell("def f(x, y=1): return x * y\n")
    return lambda line: shell.run_line_magic("job", line)


def test_a_queue(magic, manager):
    assert repr(magic("queues")) == "no queues"
    made = magic("queue collection --max-concurrent 2 --timeout 1h --max-retries 3 --retry-delay 60s --tag night")
    assert isinstance(made, Queue)
    assert made == manager.queue("collection", max_concurrent=2)
    assert (made.settings["timeout"], made.settings["tags"]) == (3600.0, ["night"])
    assert "timeout" not in magic("queue collection --timeout none").settings
    assert "collection" in repr(magic("queues"))
    job = magic("submit f(1) --queue collection")
    assert job.record.options["max_attempts"] == 4
    assert magic("queue collection pause").state == "paused"
    assert "paused by" in manager.view(job.id).job.note
    assert magic("queue collection drain").state == "draining"
    with pytest.raises(UsageError, match="QUEUE_DRAINING: queue 'collection' is being drained"):
        magic("submit f(1) --queue collection")
    assert magic("queue collection resume").state == "open"
    magic("queue collection remove")
    assert manager.queue("collection").settings == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("queue", "%job queue needs a name"),
        ("queue c puase", "unknown word 'puase' after queue c. Did you mean 'pause'?"),
        ("queue colection pause", "unknown queue 'colection'"),
        ("queue c --max-concurrent two", "max_concurrent must be a whole number"),
        ("queue c --max-concurent 2", "Did you mean '--max-concurrent'?"),
        ("queue c pause --timeout 5", "queue c pause takes no settings"),
    ],
)
def test_what_is_not_understood_changes_nothing(magic, manager, line, words):
    with pytest.raises(UsageError) as error:
        magic(line)
    assert words in str(error.value)
    assert manager.queues() == []


def test_it_completes(manager, magic):
    manager.queue("collection", max_concurrent=2)
    assert completion.words("%job queue col", {}) == ("col", ["collection"])
    assert completion.words("%job queue collection pa", {}) == ("pa", ["pause"])
    assert completion.words("%job submit f(1) --queue c", {}) == ("c", ["collection"])
    assert completion.words("%job queue collection --max-c", {}) == ("--max-c", ["--max-concurrent"])
