"""Functions that the tests of the joblib backend call through joblib; children import them from here."""

import os
import threading
import time
from pathlib import Path


class Odd(Exception):
    """Takes other arguments than it keeps, as many exceptions do."""

    def __init__(self, what, number):
        super().__init__(f"{what} {number}")
        self.number = number


def odd_at_three(x):
    if x == 3:
        raise Odd("three", 3)
    return x


def slow_square(x):
    time.sleep(0.02)
    return x * x


def where(array, i):
    """Return the sum of an array, whether it is mapped from a file, and write into it."""
    import numpy as np

    base = array
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    array[0] = i
    return float(array.sum()), base is not None


def inner(x):
    """Return in which processes and threads a Parallel inside a call runs."""
    from joblib import Parallel, delayed

    mine = (os.getpid(), threading.get_ident())
    return [mine == found for found in Parallel(n_jobs=4)(delayed(whoami)(i) for i in range(x))]


def whoami(i):
    return os.getpid(), threading.get_ident()


def parallel_in_a_job(n):
    """Use jobnb.parallel inside a job, which may neither wait for another job nor start one."""
    from joblib import Parallel, delayed

    import jobnb

    with jobnb.parallel() as jobs:
        return Parallel()(delayed(abs)(-i) for i in range(n)), len(jobs)


def mark_and_wait(marks, i, gate):
    Path(marks, str(i)).touch()
    while not os.path.exists(gate):
        time.sleep(0.005)
    return i


def dies_at(x):
    if x == 2:
        os._exit(3)
    return x
