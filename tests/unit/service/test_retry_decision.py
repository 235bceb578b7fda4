from __future__ import annotations

import pytest

from jobnb.retry import Retry
from jobnb.service.retry import decide

POLICY = Retry(jitter=False)


def error(code: str = "USER_ERROR", bases: str = "", retry: str = "") -> dict[str, str]:
    return {"code": code, "bases": bases, "retry": retry}


@pytest.mark.parametrize(
    "passing",
    [
        error("NETWORK_ERROR", "ConnectionResetError ConnectionError OSError"),
        error("API_ERROR", "RateLimited"),
        error("USER_ERROR", "BlockingIOError OSError"),
        error("MEMORY_ERROR"),
    ],
)
def test_what_may_pass_is_tried_again(passing: dict[str, str]) -> None:
    again = decide(POLICY, passing, failures=1, drawn=0.5)
    assert again is not None
    assert again.seconds == 120.0


@pytest.mark.parametrize(
    "lasting",
    [
        *(
            error(bases=n)
            for n in ("TypeError", "ValueError", "NameError", "SyntaxError", "AssertionError", "KeyError")
        ),
        error(bases="FileNotFoundError OSError"),
        error("CHILD_CRASHED"),
        error("UNPICKLABLE"),
        error("TIMEOUT_ERROR"),
    ],
)
def test_what_will_fail_again_is_not(lasting: dict[str, str]) -> None:
    assert decide(POLICY, lasting, failures=1, drawn=0.5) is None


def test_memory_is_tried_again_once() -> None:
    assert decide(POLICY, error("MEMORY_ERROR"), failures=2, drawn=0.5) is None


def test_retries_end() -> None:
    assert decide(POLICY, error("NETWORK_ERROR"), failures=3, drawn=0.5) is not None
    assert decide(POLICY, error("NETWORK_ERROR"), failures=4, drawn=0.5) is None
    assert decide(Retry(max_retries=0), error("NETWORK_ERROR", retry="later"), failures=1, drawn=0.5) is None


def test_the_exception_itself_may_decide() -> None:
    later = decide(POLICY, error(bases="RetryLater", retry="7.5"), failures=1, drawn=0.5)
    assert later is not None
    assert later.seconds == 7.5
    unsaid = decide(POLICY, error(bases="RetryLater", retry="later"), failures=2, drawn=0.5)
    assert unsaid is not None
    assert unsaid.seconds == 240.0
    assert decide(POLICY, error("NETWORK_ERROR", retry="never"), failures=1, drawn=0.5) is None


def test_on_and_never() -> None:
    wanted = Retry(on=("LookupError",), never=("IndexError",), jitter=False)
    assert decide(wanted, error(bases="KeyError LookupError"), failures=1, drawn=0.0) is not None
    assert decide(wanted, error(bases="IndexError LookupError"), failures=1, drawn=0.0) is None
    assert decide(wanted, error("NETWORK_ERROR"), failures=1, drawn=0.0) is None


@pytest.mark.parametrize("word", [Exception, BaseException, "Exception"])
def test_exception_means_every_exception(word: type[BaseException] | str) -> None:
    for bases in ("KeyError LookupError", "Mine", "FileNotFoundError OSError"):
        assert decide(Retry(on=word), error(bases=bases), failures=1, drawn=0.0) is not None
        assert decide(Retry(never=word), error("NETWORK_ERROR", bases), failures=1, drawn=0.0) is None
    # A death or a timeout is no exception.
    assert decide(Retry(on=word), error("CHILD_CRASHED"), failures=1, drawn=0.0) is None
    leaves = decide(Retry(on=word), error(bases="SystemExit"), failures=1, drawn=0.0)
    assert (leaves is not None) is (word is BaseException)


def test_the_answer_of_a_server_is_not_a_broken_connection() -> None:
    answered = "HTTPError RequestException OSError"
    assert decide(POLICY, error("USER_ERROR", answered), failures=1, drawn=0.5) is None
    assert decide(POLICY, error("API_ERROR", answered), failures=1, drawn=0.5) is not None


def test_a_job_that_ran_out_of_time_gets_more_of_it() -> None:
    again = decide(Retry(timeout_factor=3), error("TIMEOUT_ERROR"), failures=1, drawn=0.0, timeout=10.0)
    assert again is not None
    assert again.timeout == 30.0
