import pickle

import cloudpickle
import pytest

from jobnb.delegate import Delegate, _Remade, returned
from jobnb.job import ErrorRecord


class Odd(Exception):
    def __init__(self, what, number):
        super().__init__(f"{what} {number}")
        self.number = number


def record(error):
    return ErrorRecord(code="USER_ERROR", type=f"test_delegate.{type(error).__name__}", message=str(error))


def test_an_exception_of_other_arguments_than_it_keeps_travels():
    error = Odd("x", 3)
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(error))
    found = returned(cloudpickle.dumps(_Remade(error)), record(error))
    assert isinstance(found, Odd)
    assert (str(found), found.number) == ("x 3", 3)


@pytest.mark.parametrize("kept", [None, b"nonsense", pickle.dumps("text"), pickle.dumps(KeyError("another one"))])
def test_what_is_not_that_exception_does_not_count(kept):
    assert returned(kept, record(ValueError("x"))) is None


def test_outside_a_job_it_only_calls():
    assert Delegate()((int, ("7",), {"base": 8})) == 7
    with pytest.raises(ZeroDivisionError):
        Delegate()((divmod, (1, 0), {}))


def test_a_parallel_inside_a_call_is_sequential():
    from joblib import Parallel

    assert (
        Delegate(nesting_level=1)((lambda: type(Parallel(n_jobs=3)._backend).__name__, (), {})) == "SequentialBackend"
    )
