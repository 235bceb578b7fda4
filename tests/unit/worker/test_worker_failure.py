"""What is said about exceptions and deaths."""

from __future__ import annotations

import configparser
import errno
import http
import io
import os
import urllib.error
from types import SimpleNamespace

import pytest

from jobnb.errors import BlobMissing, DataError
from jobnb.retry import GiveUp, RetryLater
from jobnb.worker import failure


def caught(fn) -> BaseException:
    try:
        fn()
    except BaseException as error:
        return error
    raise AssertionError


def raiser(error: BaseException) -> BaseException:
    def fn():
        raise error

    return caught(fn)


class Coded(Exception):
    error_code = "RATE_LIMIT"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), "USER_ERROR"),
        (SystemExit(2), "USER_ERROR"),
        (KeyboardInterrupt(), "USER_ERROR"),
        (ImportError("x"), "USER_ERROR"),
        (FileNotFoundError(errno.ENOENT, "x"), "USER_ERROR"),
        (DataError("x"), "DATA_ERROR"),
        (BlobMissing("x"), "BLOB_MISSING"),
        (Coded("x"), "RATE_LIMIT"),
        (MemoryError(), "MEMORY_ERROR"),
        (ConnectionRefusedError(), "NETWORK_ERROR"),
        (TimeoutError(), "NETWORK_ERROR"),
        (OSError(errno.EHOSTUNREACH, "x"), "NETWORK_ERROR"),
        (urllib.error.URLError(ConnectionRefusedError()), "NETWORK_ERROR"),
        (urllib.error.URLError("bad address"), "USER_ERROR"),
    ],
)
def test_codes(error, code):
    assert failure.code_of(error) == code


def test_network_errors_of_libraries_by_name():
    transport = type("ConnectionError", (OSError,), {"__module__": "requests.exceptions"})
    assert failure.code_of(transport()) == "NETWORK_ERROR"
    own = type("ConnectionError", (Exception,), {"__module__": "mine"})
    assert failure.code_of(own()) == "USER_ERROR"


def test_a_connection_error_of_requests_has_no_answer():
    def error(response):
        kind = type("ConnectionError", (OSError,), {"__module__": "requests.exceptions", "response": response})
        return kind("x")

    assert failure.code_of(error(None)) == "NETWORK_ERROR"
    assert failure.code_of(error(object())) == "USER_ERROR"


class Answered(Exception):
    def __init__(self, **said):
        super().__init__("x")
        self.__dict__.update(said)


def status_of_aiohttp(status):
    class ClientResponseError(Exception):
        def __init__(self):
            super().__init__("x")
            self.status = status

        @property
        def code(self):
            raise DeprecationWarning

    return ClientResponseError()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Answered(response=SimpleNamespace(status_code=503)), "API_ERROR"),
        (Answered(response=SimpleNamespace(status_code=429)), "API_ERROR"),
        (Answered(response=SimpleNamespace(status_code=404)), "USER_ERROR"),
        (Answered(response=SimpleNamespace(status=http.HTTPStatus.BAD_GATEWAY)), "API_ERROR"),
        (Answered(status=500), "API_ERROR"),
        (Answered(code=599), "API_ERROR"),
        (Answered(code=600), "USER_ERROR"),
        (Answered(code="500"), "USER_ERROR"),
        (Answered(code=True, response=object()), "USER_ERROR"),
        (Answered(status=500, error_code="MINE"), "MINE"),
        (status_of_aiohttp(502), "API_ERROR"),
        (status_of_aiohttp(403), "USER_ERROR"),
        (urllib.error.HTTPError("http://x", 503, "x", None, io.BytesIO()), "API_ERROR"),
        (urllib.error.HTTPError("http://x", 404, "x", None, io.BytesIO()), "USER_ERROR"),
        (SystemExit(500), "USER_ERROR"),
        (configparser.NoSectionError("x"), "CONFIGURATION_ERROR"),
    ],
)
def test_answers_of_servers_and_configuration(error, code):
    assert failure.code_of(error) == code


@pytest.mark.parametrize(
    "look",
    [
        lambda: os.environ["JOBNB_NO_SUCH"],
        lambda: os.environb[b"JOBNB_NO_SUCH"],
        lambda: os.environ.pop("JOBNB_NO_SUCH"),
    ],
)
def test_a_missing_environment_variable(look):
    found = failure.describe(caught(look))
    assert found.code == "CONFIGURATION_ERROR"
    assert "'JOBNB_NO_SUCH' is not set where the job ran" in found.hint


@pytest.mark.parametrize("look", [lambda: {}["x"], lambda: dict(os.environ)["JOBNB_NO_SUCH"]])
def test_other_missing_keys(look):
    found = failure.describe(caught(look))
    assert (found.code, found.hint) == ("USER_ERROR", "")
    assert failure.code_of(KeyError("never raised")) == "USER_ERROR"


def given_up(message: str, cause: BaseException | None) -> BaseException:
    def fn():
        raise GiveUp(message) from cause

    return caught(fn)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionResetError(), ("NETWORK_ERROR", "ConnectionResetError ConnectionError OSError", "")),
        (Coded(), ("RATE_LIMIT", "Coded", "")),
        (Exception(), ("USER_ERROR", "Exception", "")),
        (SystemExit(1), ("USER_ERROR", "SystemExit", "")),
        (RetryLater("busy"), ("USER_ERROR", "RetryLater", "later")),
        (RetryLater(after="2m"), ("USER_ERROR", "RetryLater", "120")),
        (RetryLater(after=0.5), ("USER_ERROR", "RetryLater", "0.5")),
        (given_up("no", None), ("USER_ERROR", "GiveUp", "never")),
        (given_up("no", ConnectionResetError()), ("NETWORK_ERROR", "GiveUp", "never")),
        (given_up("no", given_up("no", Coded())), ("RATE_LIMIT", "GiveUp", "never")),
    ],
)
def test_what_the_service_decides_by(error, said):
    found = failure.describe(error)
    assert (found.code, found.bases, found.retry) == said


@pytest.mark.parametrize(("retryable", "said"), [(False, "never"), (True, "later"), (None, ""), ("yes", "")])
def test_an_exception_may_say_whether_it_passes(retryable, said):
    error = ValueError()
    error.retryable = retryable
    assert failure.describe(error).retry == said


def test_a_broken_exception_can_be_described():
    class Broken(ConnectionError):
        @property
        def broken(self):
            raise RuntimeError

        error_code = retryable = response = reason = broken

    found = failure.describe(raiser(Broken()))
    assert (found.code, found.retry) == ("NETWORK_ERROR", "")


def test_giving_up_without_a_word_keeps_the_words_of_the_cause():
    assert "another attempt would be useless" in failure.describe(GiveUp()).message
    ring = given_up("", None)
    ring.__cause__ = ring
    assert failure.describe(ring).message
    assert failure.describe(given_up("", ValueError("404"))).message == "404"
    assert failure.describe(given_up("gone for good", ValueError("404"))).message == "gone for good"


def test_where_is_the_users_line_even_inside_a_library():
    import json

    found = failure.describe(caught(lambda: json.loads("{")))
    assert found.where.endswith("in <lambda>")
    assert "test_worker_failure.py" in found.where
    assert found.type == "json.decoder.JSONDecodeError"


def test_deep_tracebacks_are_capped():
    def down(n):
        if n == 0:
            raise ValueError("deep")
        even(n - 1)

    def even(n):
        down(n)

    text = failure.render(caught(lambda: down(200)))
    assert text.count("  File ") <= 21
    assert "frames left out" in text
    assert "ValueError: deep" in text
    assert len(failure.render(raiser(ValueError("x" * 100_000)))) < 8_200


def test_recursion_error_can_be_described():
    def forever():
        forever()

    assert failure.describe(caught(forever)).type == "RecursionError"


def test_causes_and_groups_are_shown():
    def chain():
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise ExceptionGroup("several", [ValueError("inner")]) from error

    text = failure.render(caught(chain))
    assert "KeyError: 'cause'" in text
    assert "ValueError: inner" in text


def test_an_exception_that_cannot_be_shown():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert "cannot be shown" in failure.describe(raiser(Broken())).message


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("<ipython-input-3-abc>", "In[3]"),
        ("/tmp/ipykernel_42/1234.py", "<notebook cell>"),
        ("/home/me/prices.py", "/home/me/prices.py"),
    ],
)
def test_cells_are_named(filename, name):
    assert failure.cell_name(filename) == name
    space: dict = {}
    exec(compile("def f():\n    raise ValueError('x')\n", filename, "exec"), space)
    assert failure.describe(caught(space["f"])).where == f"{name}:2 in f"


def test_missing_module_names_the_folder():
    hint = failure.describe(raiser(ModuleNotFoundError("x")), cwd="/home/me").hint
    assert "/home/me" in hint


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (11, "CHILD_CRASHED", "SIGSEGV"),
        (3 << 8, "CHILD_CRASHED", "exit status 3"),
        (9, "CHILD_CRASHED", "SIGKILL"),
        (None, "CHILD_CRASHED", "nobody saw"),
    ],
)
def test_deaths(status, code, said):
    found = failure.death(status)
    assert found.code == code
    assert said in found.message


def test_death_near_the_limit_is_about_memory():
    found = failure.death(9, near_limit=True)
    assert found.code == "MEMORY_ERROR"
    assert "out-of-memory" in found.message


def test_report_of_faulthandler():
    words = [
        "Fatal Python error: Segmentation fault",
        "",
        "Current thread 0x1 (most recent call first):",
        f'  File "{failure._STDLIB}ctypes/__init__.py", line 5 in string_at',
        '  File "/tmp/ipykernel_42/99.py", line 7 in crash',
        f'  File "{failure._HERE}/child.py", line 1 in main',
        '  File "<string>", line 1 in <module>',
        "",
        "Extension modules: numpy (total: 1)",
    ]
    found = failure.death(11, words=words)
    assert found.where == "<notebook cell>:7 in crash"
    assert "child.py" not in found.traceback
    assert "Extension" not in found.traceback


def test_versions():
    assert failure.versions()["python"].count(".") == 2
    assert failure.version_mismatch("3.10.1", "3.11.2").code == "VERSION_MISMATCH"
