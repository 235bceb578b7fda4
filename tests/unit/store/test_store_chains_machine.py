"""Any web of jobs that wait for each other, ended in any order, against a small model that knows no SQL."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests_store import SECOND, Clock, new

from jobnb.job import Status
from jobnb.store import Store
from jobnb.store.chains import Link, Wanted
from jobnb.store.jobs import from_us

PICK = st.integers(0, 1000)
WANTED: st.SearchStrategy[Wanted] = st.sampled_from(["success", "success", "success", "failure", "any"])


@dataclass(kw_only=True)
class Node:
    """What the model knows of a job: which jobs it waits for, and how it ended."""

    parents: list[tuple[str, str]] = field(default_factory=list)
    later: bool = False
    running: bool = False
    end: str | None = None


def outcome(nodes: dict[str, Node], node: Node) -> str:
    """Say from scratch where a job stands that nobody has ended by hand: the slow way, from its parents alone."""
    skip = cancel = wait = False
    for parent, wanted in node.parents:
        end = nodes[parent].end
        wait |= end is None
        match wanted, end:
            case (_, None) | ("any", _):
                pass
            case _, "skipped":
                skip = True
            case "success", "failed" | "cancelled":
                cancel = True
            case "failure", "completed":
                skip = True
    if skip or cancel:
        return "over"
    return "waits" if wait else "later" if node.later else "queued"


class WebOfJobs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = Store(Path(self.folder.name) / "home", self.clock)
        self.nodes: dict[str, Node] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @initialize()
    def a_service_comes(self) -> None:
        lease = self.store.leases.take("local", "me", 10_000, {"host": "elsewhere", "pid": 1})
        assert lease is not None
        self.lease = lease

    @property
    def live(self) -> list[str]:
        return [job for job, node in self.nodes.items() if node.end is None]

    def settle(self) -> None:
        """Let the model's jobs end that cannot run any more, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for node in self.nodes.values():
                if node.end is None and not node.running and outcome(self.nodes, node) == "over":
                    # The first parent that stands in the way decides how it is called; both are right in a tie.
                    node.end = "over"
                    changed = True
            for job, node in self.nodes.items():
                if node.end == "over":
                    seen = self.store.jobs.get(job)
                    assert seen is not None
                    assert seen.status is Status.CANCELLED
                    assert seen.error is not None
                    ways = self.ways(node)
                    node.end = "skipped" if seen.error.code == "SKIPPED" else "cancelled"
                    assert node.end in ways, (node, ways)

    def ways(self, node: Node) -> set[str]:
        found = set()
        for parent, wanted in node.parents:
            end = self.nodes[parent].end
            if end == "skipped" and wanted != "any":
                found.add("skipped")
            elif wanted == "success" and end in ("failed", "cancelled"):
                found.add("cancelled")
            elif wanted == "failure" and end == "completed":
                found.add("skipped")
        return found

    @rule(parents=st.lists(st.tuples(PICK, WANTED), max_size=4), later=st.booleans())
    def submit(self, parents: list[tuple[int, Wanted]], later: bool) -> None:
        # One that is gone, and only remembered for a child of it, can be no parent.
        known = [job for job in self.nodes if self.store.jobs.get(job) is not None]
        chosen = {known[number % len(known)]: wanted for number, wanted in parents} if known else {}
        links = [Link(parent=parent, wanted=wanted, given=True) for parent, wanted in chosen.items()]
        run_at = from_us(self.clock.now + 10**6 * SECOND) if later else None
        job = self.store.jobs.add(new(parents=links, run_at=run_at))
        self.nodes[job] = Node(parents=list(chosen.items()), later=later)
        self.settle()

    @rule(steps=st.integers(2, 4))
    def a_chain(self, steps: int) -> None:
        jobs = [new(parents=[Link(parent=i - 1, given=True)] if i else []) for i in range(steps)]
        made = [each.id for each in self.store.jobs.accept_all(jobs)]
        for i, job in enumerate(made):
            self.nodes[job] = Node(parents=[(made[i - 1], "success")] if i else [])

    @rule()
    def take_up(self) -> None:
        with self.store.tasks.fenced(self.lease):
            for job in self.store.tasks.waiting("local", 1):
                assert outcome(self.nodes, self.nodes[job.id]) == "queued"
                assert self.store.tasks.start_job(job.id)
                self.nodes[job.id].running = True

    @precondition(lambda self: any(node.running for node in self.nodes.values()))
    @rule(number=PICK, how=st.sampled_from(["completed", "completed", "failed", "cancelled", "skipped"]))
    def end(self, number: int, how: str) -> None:
        running = [job for job, node in self.nodes.items() if node.running]
        job = running[number % len(running)]
        status = Status.CANCELLED if how == "skipped" else Status(how)
        code = {"failed": "USER_ERROR", "skipped": "SKIPPED"}.get(how)
        with self.store.tasks.fenced(self.lease):
            error = {"code": code, "message": "m"} if code else None
            assert self.store.tasks.finish(job, status, error=error)
        self.nodes[job].end, self.nodes[job].running = how, False
        self.settle()

    @precondition(lambda self: self.live)
    @rule(number=PICK)
    def cancel(self, number: int) -> None:
        job = self.live[number % len(self.live)]
        assert self.store.jobs.request_cancel(job, "ann")
        if not self.nodes[job].running:
            self.nodes[job].end = "cancelled"
            self.settle()

    @rule()
    def a_transaction_that_fails_leaves_nothing(self) -> None:
        with contextlib.suppress(ZeroDivisionError), self.store.tasks.fenced(self.lease):
            for job in self.live:
                self.store.tasks.finish(job, Status.COMPLETED)
            _ = 1 / 0

    @rule()
    def forget(self) -> None:
        """Old jobs go; no child of a job that is gone may wait for it, nor lack a result."""
        self.clock.now += SECOND
        self.store.jobs.forget(before=from_us(self.clock.now), status=["completed", "cancelled"])
        self.store.dead_letters.purge()
        kept = {row.id for row in self.store.jobs.select(limit=-1)}
        for job in [job for job in self.nodes if job not in kept]:
            assert self.nodes[job].end is not None
            if self.nodes[job].end == "completed":
                needed = [n for n in self.nodes.values() if n.end is None and job in dict(n.parents)]
                assert not needed
        self.nodes = {job: node for job, node in self.nodes.items() if job in kept or self.wanted_by_a_live_one(job)}

    def wanted_by_a_live_one(self, job: str) -> bool:
        return any(node.end is None and job in dict(node.parents) for node in self.nodes.values())

    @invariant()
    def both_tell_the_same(self) -> None:
        for job, node in self.nodes.items():
            seen = self.store.jobs.get(job)
            if seen is None:
                assert node.end in ("failed", "cancelled", "skipped")
                continue
            if node.end is not None:
                expected = "cancelled" if node.end == "skipped" else node.end
            elif node.running:
                expected = "running"
            else:
                expected = {"waits": "scheduled", "later": "scheduled", "queued": "queued"}[outcome(self.nodes, node)]
            assert seen.status.value == expected, (job, node)
            waits = node.end is None and not node.running and outcome(self.nodes, node) == "waits"
            if node.end is None and not node.running:
                assert (seen.run_at is None) == (waits or not node.later)
            assert seen.note.startswith("waits for ") == waits
            if waits:
                left = sum(self.nodes[parent].end is None for parent, _ in node.parents)
                row = self.store.database.row("SELECT open_parents FROM jobs WHERE id = ?", (job,))
                assert row == (left,)
        if not self.live:
            assert not self.store.jobs.any_live("local")


TestWebOfJobs = WebOfJobs.TestCase
TestWebOfJobs.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
