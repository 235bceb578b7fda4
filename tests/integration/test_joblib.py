"""joblib.Parallel as jobs of a real service: order, errors, cancel, progress, and scikit-learn on top."""

import multiprocessing
import os
import pickle
import signal
import threading

import joblib_kit as kit
import numpy as np
import pytest
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from service_kit import until

import jobnb
from jobnb import backend
from jobnb.errors import JobCancelled, JobFailed, Unpicklable
from jobnb.job import Status
from jobnb.option import Options


@pytest.fixture
def inside(shared):
    """The jobs of a ``with`` block in which joblib uses the shared service."""
    with backend.parallel(shared, Options()) as jobs:
        yield jobs


def test_one_parallel_is_one_job(inside):
    found = Parallel(n_jobs=-1)(delayed(kit.slow_square)(i) for i in range(30))
    assert found == [i * i for i in range(30)]
    (job,) = inside
    assert (job.name, job.kind, job.status) == ("slow_square", "map", Status.COMPLETED)
    assert (job.progress.current, job.progress.total) == (30, 30)
    assert job.result() == found


def test_one_object_may_be_used_again(inside):
    with Parallel(n_jobs=4, batch_size=7) as parallel:
        assert parallel(delayed(abs)(-i) for i in range(20)) == list(range(20))
        assert parallel(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
    assert parallel([]) == []
    assert [job.record.items for job in inside] == [20, 3]


def test_generators(inside):
    assert list(Parallel(return_as="generator")(delayed(kit.slow_square)(i) for i in range(9))) == [
        i * i for i in range(9)
    ]
    first = Parallel(return_as="generator_unordered")(delayed(kit.slow_square)(i) for i in range(9))
    # Another one, while the first is not used up: each has a state of its own.
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
    assert sorted(first) == [i * i for i in range(9)]
    assert len(inside) == 3


def test_options_go_to_the_job(shared):
    with backend.parallel(shared, Options().merge(name="search", tags="x", priority="high"), n_jobs=2) as jobs:
        Parallel()(delayed(abs)(i) for i in range(3))
    assert (jobs[0].name, jobs[0].record.tags, jobs[0].record.priority) == ("search", ("x",), "high")


def test_the_public_name_uses_the_default_manager(shared, monkeypatch):
    monkeypatch.setattr("jobnb.manager._default", shared)
    with jobnb.parallel() as jobs:
        assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
    with jobnb.options(name="named").parallel() as more:
        Parallel()(delayed(abs)(-i) for i in range(2))
    assert len(jobs) == 1
    assert [job.name for job in more] == ["named"]
    # Behind the block joblib is as it was.
    assert type(Parallel(n_jobs=1)._backend).__name__ == "LokyBackend"
    # And the backend has a name.
    assert Parallel(n_jobs=2, backend="jobnb")(delayed(abs)(-i) for i in range(2)) == [0, 1]
    with parallel_config("jobnb", name="by name"):
        assert Parallel()(delayed(abs)(-i) for i in range(2)) == [0, 1]
    assert shared.jobs(limit=1)[0].name == "by name"
    with pytest.raises(jobnb.JobnbError, match="Did you mean 'name'"):
        parallel_config("jobnb", nam="x")


def test_the_exception_of_a_call_is_raised_here(inside):
    with pytest.raises(kit.Odd, match="three 3") as caught:
        Parallel()(delayed(kit.odd_at_three)(i) for i in range(10))
    assert caught.value.number == 3
    cause = caught.value.__cause__
    assert isinstance(cause, JobFailed)
    assert cause.job_id == inside[0].id
    assert "in odd_at_three" in cause.__notes__[0]
    assert inside[0].status is Status.FAILED
    assert [a.attempt for a in inside[0].attempts if a.state == "failed"] == [1]


def test_a_crash_is_a_failed_job(inside):
    with pytest.raises(JobFailed, match="CHILD_CRASHED"):
        Parallel()(delayed(kit.dies_at)(i) for i in range(3))


def test_what_cannot_be_sent_is_refused(inside):
    lock = threading.Lock()
    with pytest.raises(Unpicklable, match="cannot be sent"):
        Parallel()(delayed(id)(lock) for _ in range(3))
    assert not inside


def test_an_exception_of_the_generator_of_calls(inside):
    def calls():
        yield delayed(abs)(1)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        Parallel()(calls())
    assert not inside


def test_more_calls_than_a_job_may_have(inside, monkeypatch):
    monkeypatch.setattr(backend, "CALLS", 10)
    with pytest.raises(jobnb.JobnbError, match="more than 10 calls"):
        Parallel()(delayed(abs)(i) for i in range(11))
    assert not inside


def started(folder, count=1):
    until(lambda: len(list(folder.iterdir())) >= count)


def test_progress_while_it_runs(shared, tmp_path):
    marks, gate, free = tmp_path / "marks", tmp_path / "gate", tmp_path / "free"
    marks.mkdir()
    free.touch()
    # One waits; the other place does the others.
    gates = [free] * 6 + [gate]
    seen, results = [], []

    def call():
        # The block counts for the thread that enters it.
        with backend.parallel(shared, Options()) as jobs:
            seen.append(jobs)
            results.extend(Parallel()(delayed(kit.mark_and_wait)(marks, i, g) for i, g in enumerate(gates)))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        started(marks, 7)
        job = seen[0][0]
        until(lambda: job.progress.current >= 6)
        assert job.progress.total == 7
        assert not job.done()
    finally:
        gate.touch()
        thread.join(30)
    assert results == list(range(7))


def test_an_interrupt_cancels_the_job(inside, tmp_path):
    def interrupt():
        started(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    # What a shell starts in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            Parallel()(delayed(kit.mark_and_wait)(tmp_path, i, "/nowhere") for i in range(4))
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    until(lambda: inside[0].status is Status.CANCELLED)
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_a_job_that_is_cancelled_elsewhere(inside, tmp_path):
    def cancel():
        started(tmp_path)
        inside[0].cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        with pytest.raises(JobCancelled, match="was cancelled"):
            Parallel()(delayed(kit.mark_and_wait)(tmp_path, i, "/nowhere") for i in range(4))
    finally:
        thread.join()


def test_joblibs_own_timeout_cancels_the_job(inside, tmp_path):
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(kit.mark_and_wait)(tmp_path, i, "/nowhere") for i in range(2))
    until(lambda: inside[0].status is Status.CANCELLED)


def test_a_large_array_is_stored_once_and_mapped(inside, shared):
    array = np.arange(300_000, dtype=float)
    array[-1] = np.pi
    found = Parallel()(delayed(kit.where)(array, i) for i in range(4))
    total = array.sum()
    assert found == [(pytest.approx(total + i), True) for i in range(4)]
    assert array[0] == 0.0
    assert len(shared.store.jobs.blobs(inside[0].id)) == 1


def test_a_parallel_inside_a_call_runs_in_its_place(inside):
    assert Parallel()(delayed(kit.inner)(i) for i in (2, 3)) == [[True] * 2, [True] * 3]
    assert len(inside) == 1


def test_inside_a_job_there_is_no_other(shared):
    assert shared.submit(kit.parallel_in_a_job, (3,)).result(30) == ([0, 1, 2], 0)


def test_one_call_at_a_time_needs_no_job(inside):
    assert Parallel(n_jobs=1)(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2
    assert Parallel(n_jobs=2, require="sharedmem")(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2
    assert not inside
    assert effective_n_jobs(-1) == 2
    assert effective_n_jobs(5) == 5
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(abs)(i) for i in range(2))


def test_a_search_of_scikit_learn(inside):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    from sklearn.model_selection import GridSearchCV
    from sklearn.tree import DecisionTreeClassifier

    x, y = datasets.load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 5]}

    def search(n_jobs):
        return GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=3, n_jobs=n_jobs).fit(x, y)

    found = search(-1)
    (job,) = inside
    assert (job.name, job.record.items, job.status) == ("_fit_and_score", 18, Status.COMPLETED)
    alone = search(1)
    assert len(inside) == 1
    assert found.best_params_ == alone.best_params_
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(found.predict(x), alone.predict(x))
    assert pickle.loads(pickle.dumps(found)).best_score_ == found.best_score_


def test_an_estimator_that_fails(inside):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    x, y = np.zeros((20, 2)), np.arange(20) % 2
    with pytest.raises(ValueError, match="max_depth"):
        cross_val_score(DecisionTreeClassifier(max_depth=-1), x, y, cv=2, n_jobs=2, error_score="raise")
    assert inside[0].status is Status.FAILED
