"""A manager, a clock and a shell of the tests' own: no store, no service, no kernel, no sleep."""

from dataclasses import replace
from datetime import timedelta

import examples
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jobnb.errors import unknown
from jobnb.job import Job, JobView, Status
from jobnb.notebook import delivery, ui


class FakeManager:
    """Keeps jobs in a dictionary and notes what it was asked to do."""

    def __init__(self):
        self.rows = {}
        self.now = examples.NOW
        self.count = 0
        self.calls = []
        self.values = {}
        self.view_error = None
        self.lines = ()
        self.warnings = []
        self.service = {"running": True, "state": "running", "workers": 2}

    def put(self, **changes):
        record = examples.record(id=f"{len(self.rows) + 1:02d}aabbcc", created_at=self.now, started_at=self.now)
        record = replace(record, **changes)
        self.rows[record.id] = record
        self.count += 1
        return Job(record.id, self)

    def change(self, job, **changes):
        self.rows[job.id] = replace(self.rows[job.id], **changes)
        self.count += 1

    def end(self, job, status=Status.COMPLETED, **changes):
        self.change(job, status=status, finished_at=self.now, **changes)

    def version(self):
        return self.count

    def ensure_service(self):
        self.calls.append(("ensure_service",))

    def view(self, job_id, log_lines=8):
        if self.view_error is not None:
            raise self.view_error
        return JobView(
            job=self.rows[job_id], now=self.now, log=tuple(self.lines[-log_lines:]), log_total=len(self.lines)
        )

    def record(self, job_id):
        return self.rows[job_id]

    def records(self, status=None, kind=None, tag=None, limit=50):
        self.calls.append(("records", status, kind, tag, limit))
        # One word is only noted down, for the tests of the magic.
        return [r for r in reversed(self.rows.values()) if not isinstance(status, list) or r.status in status][:limit]

    def stats(self, days=7):
        counts = {s.value: sum(r.status is s for r in self.rows.values()) for s in Status}
        dead = sum(r.dead for r in self.rows.values())
        more = {} if days is None else {"days": days}
        return {"jobs": counts, "dead_letters": dead, "warnings": self.warnings, "service": self.service, **more}

    def notices(self):
        return ["a channel"]

    def dead_letters(self, limit=100, *, kind=None, code=None):
        return [Job(r.id, self) for r in reversed(self.rows.values()) if r.dead][:limit]

    def jobs(self, status=None, kind=None, tag=None, limit=50):
        return [Job(r.id, self) for r in self.records(status, kind, tag, limit)]

    def get(self, ref):
        for record in reversed(self.rows.values()):
            if record.id.startswith(ref) or record.name == ref:
                return Job(record.id, self)
        raise unknown("job", ref, [r.name for r in self.rows.values()])

    def _submitted(self, call, **changes):
        self.calls.append(call)
        return self.put(status=Status.QUEUED, started_at=None, **changes)

    def submit(self, fn, args=(), kwargs=None, options=None, *, kind="job", params=None):
        name = options.name or getattr(fn, "__name__", "f")
        return self._submitted(("submit", fn, args, kwargs, options, params), name=name, kind=kind)

    def backtest(self, strategy, data, params=None, options=None, *, data_name=None):
        return self._submitted(("backtest", strategy, data, params, options, data_name), name="b", kind="backtest")

    def optimize(self, strategy, data, space, options=None, **more):
        return self._submitted(("optimize", strategy, data, space, options, more), name="o", kind="optimize")

    def extract(self, symbols, options=None, **more):
        return self._submitted(("extract", symbols, options, more), name="e", kind="data")

    def wait(self, ids, timeout=None):
        self.calls.append(("wait", tuple(ids), timeout))
        if not all(self.rows[i].status.final for i in ids):
            raise TimeoutError("still not done")

    def result(self, job_id, timeout=None, *, partial=False):
        return self.values[job_id]

    def report(self, job_id, path, timeout=None, *, partial=False):
        self.calls.append(("report", job_id, path, partial))
        return f"/here/{path}"

    def cancel(self, job_id):
        self.calls.append(("cancel", job_id))
        if self.rows[job_id].status.final:
            return False
        self.change(Job(job_id, self), cancel_requested=True)
        return True

    def finish(self, job_id):
        self.calls.append(("finish", job_id))
        return not self.rows[job_id].status.final

    def retry(self, job_id):
        return self._submitted(("retry", job_id), name="again", kind="job")

    def rerun(self, job_id, **changes):
        return self._submitted(("rerun", job_id, changes), name="again", kind="job")

    def log(self, job_id, tail=None):
        return list(self.lines[-tail:] if tail else self.lines)

    def status_line(self):
        return "service running (pid 1), 2 workers, 0 running"

    def connect(self, cluster=None, home=None):
        self.calls.append(("connect", cluster))

    def pass_time(self, seconds):
        self.now += timedelta(seconds=seconds)

    def asked(self, what):
        return [c for c in self.calls if c[0] == what]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class TestingShell(InteractiveShell):
    """A shell whose cells raise what they raise."""

    __test__ = False

    def run_cell(self, *args, **kwargs):
        result = super().run_cell(*args, **kwargs)
        result.raise_error()
        return result.result


@pytest.fixture
def manager(monkeypatch):
    fake = FakeManager()
    import jobnb.manager

    monkeypatch.setattr(jobnb.manager, "get_job_manager", lambda: fake)
    return fake


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def thread(clock, monkeypatch):
    """The UI thread without a thread: tests call ``tick``."""
    made = ui.Ui(clock, threaded=False)
    monkeypatch.setattr(ui, "_ui", made)
    return made


@pytest.fixture
def shell(manager, thread, monkeypatch):
    InteractiveShell.clear_instance()
    TestingShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    made = TestingShell.instance(config=config)
    monkeypatch.setattr(delivery, "_deliveries", [])
    made.run_line_magic("load_ext", "jobnb")
    yield made
    made.run_line_magic("unload_ext", "jobnb")
    TestingShell.clear_instance()


@pytest.fixture
def store_manager(tmp_path, monkeypatch):
    """A real manager with a home of its own, behind the magic, that starts no service."""
    import jobnb.manager

    made = jobnb.manager.JobManager(home=tmp_path / "home")
    monkeypatch.setattr(made, "ensure_service", lambda: None)
    monkeypatch.setattr(made.daemon, "ensure", lambda: None)
    monkeypatch.setattr(jobnb.manager, "get_job_manager", lambda: made)
    yield made
    made.store.close()
