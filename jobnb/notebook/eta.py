"""When a job will be done: an estimate that appears only once it is believable and never jumps about.

Pure: each step takes what was known before and what is seen now, and returns what is known after it. The kernel's
UI thread and the command line keep one `Eta` for each job they show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Nothing is said before this many seconds of watching and this share of the work.
BELIEVABLE_AFTER = 1.0
BELIEVABLE_SHARE = 0.02
#: Seconds over which the measured rate forgets.
MEMORY = 8.0
#: The shown end moves only when the estimate is off by more than this share of what is left and this time.
TOLERANCE = 0.25
TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Eta:
    """What is known of a job's speed.

    Attributes
    ----------
    at, done : float
        The last look: seconds of any steady clock, and the work done by then.
    since : float
        The moment of the first look.
    rate : float
        Smoothed work per second; 0 before anything is known.
    ends : float or None
        The moment at which the job is said to end, on the same clock.
    """

    at: float
    done: float
    since: float
    rate: float = 0.0
    ends: float | None = None

    def left(self, now: float) -> float | None:
        """Return the seconds to show as left, rounded so that the words hold still, or None."""
        return None if self.ends is None else settle(self.ends - now)


def step(before: Eta | None, *, at: float, done: float, total: float, started: float) -> Eta:
    """Return what is known after a look at a job.

    Parameters
    ----------
    before : Eta or None
        What was known; None at the first look.
    at : float
        Now, in seconds.
    done, total : float
        The work done and the whole of it; ``total`` 0 where it is not known.
    started : float
        When the job started, on the same clock.
    """
    if before is None or done < before.done:
        # A first look, or a new attempt: the average since the start is all there is.
        rate = done / (at - started) if before is None and at > started else 0.0
        fresh = Eta(at=at, done=done, since=min(started, at) if before is None else at, rate=rate)
        return _promise(fresh, total)
    span = at - before.at
    if span <= 0:
        return before
    seen = (done - before.done) / span
    known = at - before.since
    # Early on every look counts the same (a plain average); later the older ones fade.
    weight = min(1.0, span / min(max(known, span), MEMORY))
    rate = before.rate + weight * (seen - before.rate)
    return _promise(replace(before, at=at, done=done, rate=rate), total)


def _promise(eta: Eta, total: float) -> Eta:
    believable = (
        total > 0 and eta.rate > 0 and eta.at - eta.since >= BELIEVABLE_AFTER and eta.done / total >= BELIEVABLE_SHARE
    )
    if not believable:
        # An end once said stays said through a pause; only a new attempt takes it back.
        return eta
    left = max(0.0, (total - eta.done) / eta.rate)
    if eta.ends is not None:
        said = eta.ends - eta.at
        if abs(left - said) <= max(TOLERANCE_SECONDS, TOLERANCE * max(left, said)):
            return eta
    return replace(eta, ends=eta.at + left)


def settle(left: float) -> float:
    """Round what is left upwards to steps that grow with it: 1 s, 5 s, 15 s, a minute, five minutes.

    Examples
    --------
    >>> [settle(s) for s in (0.2, 7.5, 33, 130, 700, 9000)]
    [1.0, 8.0, 35.0, 135.0, 720.0, 9000.0]
    """
    left = max(left, 1.0)
    for below, size in ((20, 1), (120, 5), (600, 15), (7200, 60)):
        if left <= below:
            return float(-(-left // size) * size)
    return float(-(-left // 300) * 300)
