"""Answers what jobs ask about breakers and rate limits: decides in the store, and sends the answer back to the worker.

A thread of its own, so that a question need not wait for the dispatcher's round. It settles nothing of a job, and a
question that is asked twice gets the same answer, so it needs no lease: of two services both answer alike.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from jobnb.errors import JobnbError, StoreError
from jobnb.service.wire import run_on
from jobnb.store import Store
from jobnb.worker.asking import Answer, deliver

logger = logging.getLogger(__name__)

#: How long the end of the service waits for the thread.
JOIN_SECONDS = 5.0


class Answers:
    """The thread that answers.

    Parameters
    ----------
    store : Store
    client : distributed.Client
        By which answers go back.
    """

    def __init__(self, store: Store, client: Any) -> None:
        self._store = store
        self._client = client
        self._inbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, event: Mapping[str, Any]) -> None:
        """Take in a question, as the supervisor's event says it; from any thread, which it does not hold."""
        if self._thread is None:
            # Most services never hear a question.
            self._thread = threading.Thread(target=self._run, name="jobnb-answers", daemon=True)
            self._thread.start()
        self._inbox.put(event)

    def close(self) -> None:
        """Answer what has come, and end."""
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            while (event := self._inbox.get()) is not None:
                events = [event]
                open_ = True
                while not self._inbox.empty():
                    more = self._inbox.get()
                    if more is None:
                        open_ = False
                        break
                    events.append(more)
                self._answer(events)
                if not open_:
                    return
        finally:
            self._store.close()

    def _answer(self, events: list[Mapping[str, Any]]) -> None:
        there: dict[str, dict[str, Answer]] = defaultdict(dict)
        try:
            with self._store.limits.together():
                for event in events:
                    question = {**event["question"], "job": event["job"]}
                    there[str(event["worker"])][str(question["id"])] = self._one(question)
        except StoreError as error:
            # They will be asked again.
            logger.warning("questions of jobs cannot be answered now: %s", error)
            return
        except Exception:
            # Nor may one that nobody thought of end the thread, by which all others would stay without an answer.
            logger.exception("questions of jobs cannot be answered")
            return
        for worker, answers in there.items():
            # Who got no answer asks again.
            run_on(self._client, worker, deliver, answers)

    def _one(self, question: Mapping[str, Any]) -> Answer:
        try:
            return self._store.limits.answer(question)
        except StoreError:
            raise
        except JobnbError as error:
            return {"error": {"code": error.code, "message": error.message}}
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("a question that cannot be read: %r", error)
            return {"error": {"code": "USAGE_ERROR", "message": f"the service cannot read the question ({error!r})."}}
