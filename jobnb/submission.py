"""Makes the row of a new job: packs the work, notes the surroundings, spells out the options. Run by front doors."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobnb import after, config, guard
from jobnb.daemon import EMBEDDED
from jobnb.job import JobRecord, utcnow
from jobnb.notifying import resolve, still
from jobnb.option import Options
from jobnb.retry import Retry
from jobnb.store.chains import Link
from jobnb.store.jobs import NewJob
from jobnb.store.queues import INHERITED

if TYPE_CHECKING:
    from jobnb.store import Store
    from jobnb.work import Work

#: Options of a job that the same work done again has as well.
KEPT = ("timeout", "memory_limit", "cancel_grace", "retry", "needs")


def new_job(
    store: Store,
    cluster: str,
    work: Work,
    kind: str,
    options: Options,
    *,
    name: str,
    params: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
    blobs: Sequence[str] = (),
    source: Callable[..., Any] | None = None,
    previous: Link | None = None,
) -> NewJob:
    """Pack a work and return the row of its job.

    Parameters
    ----------
    store : Store
        Where the payload and large arrays are kept.
    cluster, kind, name, params, plan
        See `NewJob`.
    work : Work
    options : Options
    blobs : sequence of str
        Blobs that the work names by itself.
    source : callable, optional
        The user's function or class, whose source is kept with the job.
    previous : Link, optional
        The job before it in a chain.

    Raises
    ------
    Unpicklable
        The work cannot be sent. Nothing was enqueued.
    UsageProblem, UnknownName
        What it is to wait for cannot be. Nothing was enqueued.
    """
    from jobnb import packing, sources
    from jobnb.work import Hooked

    data = _data(work)
    # Where the workers do not see the submitter's files, the function's own module travels along.
    named = {getattr(fn, "__module__", None) or "": None for fn in (source, options.condition) if cluster != EMBEDDED}
    far = [module for name in named if packing.is_local(module := sys.modules.get(name)) and module is not None]
    if options.hooks is not None:
        hooks = options.hooks
        work = Hooked(work, before=hooks.before, after=hooks.after, on_error=hooks.on_error)
    guard.check_needs(options.needs, store)
    work, parents = after.attach(store, work, options, previous)
    cells = {**sources.gather(source), **sources.gather(options.condition)}
    packed = packing.pack(
        sources.WithSources(work=work, sources=cells) if cells else work,
        store.blobs.put,
        by_value=far,
    )
    payload = store.payloads.prepare(packed.payload)
    return NewJob(
        name=options.name or name,
        kind=kind,
        cluster=cluster,
        payload=payload.sha,
        content=payload.content,
        blobs=[*dict.fromkeys([*blobs, *packed.blobs])],
        params=params,
        plan=plan or {"type": "single", "items": 1},
        snapshot={**packing.snapshot(options.seed, source), **data},
        **_said(store, options, parents),
    )


def wrapped(store: Store, cluster: str, new: NewJob, work: Work, sources_of: Sequence[Callable[..., Any]]) -> NewJob:
    """Return the row of a job whose work is another one, which holds the packed one it had.

    Parameters
    ----------
    store, cluster
    new : NewJob
    work : Work
    sources_of : sequence of callable
        Functions of the user's in it.

    Raises
    ------
    Unpicklable
        One of them cannot be sent.
    """
    from jobnb import packing, sources

    modules = [sys.modules.get(getattr(fn, "__module__", None) or "") for fn in sources_of]
    far = [module for module in modules if module is not None and cluster != EMBEDDED and packing.is_local(module)]
    cells = {name: text for fn in sources_of for name, text in sources.gather(fn).items()}
    packed = packing.pack(
        sources.WithSources(work=work, sources=cells) if cells else work, store.blobs.put, by_value=dict.fromkeys(far)
    )
    payload = store.payloads.prepare(packed.payload)
    return replace(
        new, payload=payload.sha, content=payload.content, blobs=[*dict.fromkeys([*new.blobs, *packed.blobs])]
    )


def _data(work: Work) -> dict[str, Any]:
    """Return which prices a work runs on, for the snapshot: their hash, span and where they are from."""
    several = getattr(work, "instruments", None)
    if isinstance(several, Mapping):
        return {
            "data": {"name": getattr(work, "name", "data"), "instruments": {k: _ref(v) for k, v in several.items()}}
        }
    found = _ref(getattr(work, "data", None))
    return {"data": found} if found else {}


def _ref(ref: Any) -> dict[str, Any]:
    key = getattr(ref, "key", None)
    if not isinstance(key, str) or not key or not isinstance(getattr(ref, "meta", None), Mapping):
        return {}
    meta = dict(ref.meta)
    return {"fingerprint": key, **{k: meta[k] for k in ("name", "bars", "tz", "origin") if k in meta}}


def again(
    store: Store, cluster: str, old: JobRecord, changes: Mapping[str, Any], *, keep_finished: bool = False
) -> NewJob:
    """Return the row of a job that does the work of an old one again.

    Parameters
    ----------
    changes : mapping
        Options to change.
    keep_finished : bool, default False
        Take over what the old job's finished tasks gave, and do only the rest.
    """
    kept = {k: v for k in KEPT if (v := old.options.get(k)) is not None}
    if "first_timeout" in old.options:
        kept["timeout"] = old.options["first_timeout"]
    if told := still(store, old.options.get("notify", ())):
        kept["notify"] = told
    kept |= {"priority": old.priority, "tags": old.tags}
    options = Options(name=old.name, queue=old.queue).merge(**{**kept, **changes})
    guard.check_needs(options.needs, store)
    seed = options.seed if options.seed is not None else old.snapshot.get("seed")
    return NewJob(
        name=options.name,
        kind=old.kind,
        cluster=cluster,
        payload=old.payload,
        blobs=store.jobs.blobs(old.id),
        params=old.params,
        plan=old.plan,
        # Of a run of a schedule: it is still for its moment, and somebody wants it now.
        snapshot={**old.snapshot, "seed": seed, **({"by_hand": True} if old.fire_at else {})},
        fire_at=old.fire_at,
        rerun_of=old.id,
        adopt=keep_finished,
        **_said(store, options, after.again(store, old, options)),
    )


def who() -> str:
    """Return the name of whoever asks, for the job's history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _said(store: Store, options: Options, parents: Sequence[Link]) -> dict[str, Any]:
    """Return what the options say of the row; defaults of the configuration filled in."""
    retry = options.retry or Retry.of(config.retry()) or Retry()
    return {
        "priority": options.priority,
        "queue": options.queue,
        "tags": options.tags,
        "run_at": options.run_at,
        "expires_at": options.expires_at,
        "deadline_at": utcnow() + timedelta(seconds=options.deadline) if options.deadline else None,
        "unique": options.unique,
        "unique_for": options.unique_for or 0.0,
        "who": who(),
        "parents": parents,
        "said": tuple(sorted(options.said.intersection(INHERITED))),
        "options": {
            "timeout": options.timeout,
            "memory_limit": options.memory_limit,
            "cancel_grace": options.cancel_grace,
            "retry": retry.to_json(),
            "max_attempts": retry.max_retries + 1,
            **({"given": True} if any(link.given for link in parents) else {}),
            **({"notify": resolve(store, options.notify)} if options.notify else {}),
            **({"needs": list(options.needs)} if options.needs else {}),
        },
    }
