from __future__ import annotations

import inspect

from jobnb import errors
from jobnb.errors import JobFailed, JobnbError, did_you_mean, unknown


def test_every_error_has_a_code_and_a_message_of_its_own() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, JobnbError)]
    assert len({c.code for c in classes}) == len(classes)
    for each in classes:
        assert each.code.isupper()
        assert str(each())


def test_the_nearest_name_is_offered_or_the_known_ones() -> None:
    assert did_you_mean("sharp_ratio", ["sharpe_ratio", "trades"]) == " Did you mean 'sharpe_ratio'?"
    assert did_you_mean("SMACROSS", ["SmaCross"]) == " Did you mean 'SmaCross'?"
    assert "Known: a, b." in str(unknown("method", "zzz", ["b", "a"]))


def test_a_failed_job_shows_its_own_traceback() -> None:
    error = JobFailed("job x failed", job_id="x", traceback="Traceback\n  line\nValueError: no")
    assert error._render_traceback_() == ["Traceback", "  line", "ValueError: no", "JobFailed: job x failed"]
    assert JobFailed("gone")._render_traceback_() == ["JobFailed: gone"]
