import pytest

from jobnb.job import Job, Outcome


class Manager:
    def __init__(self, outcome):
        self._outcome = outcome

    def outcome(self, job_id):
        return self._outcome

    def result(self, job_id, *, timeout, partial):
        return job_id, timeout, partial


@pytest.mark.parametrize(
    ("outcome", "success", "data", "error"),
    [
        (Outcome(success=True, data=[3]), True, [3], None),
        (Outcome(success=False, error="ValueError: no"), False, None, "ValueError: no"),
        (None, False, None, None),
    ],
)
def test_it_speaks_the_seed_systems_words(outcome, success, data, error):
    result = Job("abc", Manager(outcome)).result
    assert (result.success, result.data, result.error) == (success, data, error)


def test_it_is_called_for_the_value():
    job = Job("abc", Manager(None))
    assert job.result() == ("abc", None, False)
    assert job.result(5, partial=True) == ("abc", 5, True)
    assert "job.result()" in repr(job.result)
