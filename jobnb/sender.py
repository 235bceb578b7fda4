"""Sends a message to an address: a webhook by the standard library, a desktop by its program, all else by apprise.

Called by the service's herald, and by whoever tests a channel. It waits for an answer and may be slow: never call it
from a thread that anybody waits for. What goes wrong is a `NotSent` without the secrets of the address.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import logging
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import jobnb
from jobnb.channel import DESKTOP, NOTEBOOK, Message, masked, scheme, scrubbed
from jobnb.errors import MissingPackage, NotSent, UsageProblem, did_you_mean

#: Seconds that a webhook or a program has to take a message.
TIMEOUT = 10.0
_WEBHOOKS = ("http", "https")
_LONGEST_REASON = 300


def check(url: str) -> None:
    """See that an address can be sent to from here, without sending anything.

    Raises
    ------
    UsageProblem
        apprise does not understand it.
    MissingPackage
        apprise, or the desktop's program, is not installed.
    """
    kind = scheme(url)
    if kind == NOTEBOOK or (kind in _WEBHOOKS and not _native(url)):
        return
    if kind == DESKTOP:
        _desktop("", "")
        return
    _apprise(url)


def send(url: str, message: Message) -> None:
    """Send a message.

    Raises
    ------
    NotSent
        It was not accepted, or nobody answered.
    """
    kind = scheme(url)
    try:
        if kind == DESKTOP:
            subprocess.run(
                _desktop(message.title, message.body), timeout=TIMEOUT, check=True, capture_output=True, text=True
            )
        elif kind in _WEBHOOKS and not _native(url):
            _post(url, message)
        else:
            _by_apprise(url, message)
    except NotSent as error:
        raise NotSent(_reason(error.message, url)) from None
    except subprocess.CalledProcessError as error:
        raise NotSent(_reason(error.stderr or str(error), url)) from None
    except Exception as error:  # noqa: BLE001  (a plugin may raise anything, and its traceback may hold the address)
        text = str(error) if isinstance(error, NotSent | MissingPackage) else f"{type(error).__name__}: {error}"
        raise NotSent(_reason(text, url)) from None


def _reason(text: str, url: str) -> str:
    said = scrubbed(text, url)
    return said if len(said) <= _LONGEST_REASON else said[: _LONGEST_REASON - 1] + "…"


# A webhook


def _post(url: str, message: Message) -> None:
    told: dict[str, Any] = {
        "title": message.title,
        "message": message.body,
        "text": f"{message.title}\n{message.body}".strip(),
        "type": message.level,
        "notices": [{"event": n.event, "at": n.at.isoformat(), **n.facts} for n in message.notices],
    }
    headers = {"Content-Type": "application/json", "User-Agent": f"jobnb/{jobnb.__version__}"}
    place = urlsplit(url)
    who, at, host = place.netloc.rpartition("@")
    if at:
        # urllib would look for a host of that name.
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(who).encode()).decode()
        url = urlunsplit(place._replace(netloc=host))
    request = urllib.request.Request(url, data=json.dumps(told).encode(), headers=headers)  # noqa: S310  (http, https)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        with error:
            raise NotSent(f"{masked(url)} answered {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotSent(f"{masked(url)} cannot be reached ({getattr(error, 'reason', error)})") from None


# The desktop


def _desktop(title: str, body: str) -> list[str]:
    if sys.platform == "darwin":
        script = f"display notification {json.dumps(body)} with title {json.dumps(title)}"
        return ["/usr/bin/osascript", "-e", script]
    program = shutil.which("notify-send")
    if program is None:
        raise MissingPackage(
            "there is no notify-send here, which shows notices on a desktop. Install libnotify (libnotify-bin), or use "
            "another channel."
        )
    return [program, "--app-name=jobnb", "--", title, body]


# apprise


def _native(url: str) -> bool:
    """Tell whether a web address is one that apprise knows as another service's; all of those are ``https``."""
    if scheme(url) != "https" or importlib.util.find_spec("apprise") is None:
        return False
    import apprise

    with _quiet():
        return apprise.Apprise.instantiate(url) is not None


def _apprise(url: str) -> Any:
    """Return apprise's object of an address."""
    if importlib.util.find_spec("apprise") is None:
        raise MissingPackage(
            f"{masked(url)} needs apprise: pip install 'jobnb[notify]'. Without it there are 'notebook', 'desktop' and "
            "'https://…' for a webhook."
        )
    import apprise

    with _quiet():
        found = apprise.Apprise.instantiate(url)
    if found is not None:
        return found
    kind = scheme(url)
    known = {
        str(name)
        for each in apprise.Apprise().details()["schemas"]
        for name in (*(each["protocols"] or ()), *(each["secure_protocols"] or ()))
    }
    if kind in known:
        raise UsageProblem(
            f"{kind}://… is not complete, or not as apprise wants it. See https://appriseit.com/services/."
        )
    raise UsageProblem(f"apprise knows no {kind}://….{did_you_mean(kind, known)} See https://appriseit.com/services/.")


def _by_apprise(url: str, message: Message) -> None:
    import apprise

    one = apprise.Apprise()
    one.add(_apprise(url))
    with _quiet() as said:
        sent = one.notify(body=message.body or message.title, title=message.title, notify_type=message.level)
    if not sent:
        raise NotSent(said.text() or f"{masked(url)} did not take it")


class _quiet(logging.Handler):  # noqa: N801  (used as a verb)
    """Keeps what apprise and its helpers log in this block to itself: it names the address, or a piece of it."""

    LOGGERS = ("apprise", "urllib3", "oauthlib", "requests_oauthlib")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []
        self._passed_on: dict[logging.Logger, bool] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("apprise"):
            self._lines.append(record.getMessage())

    def text(self) -> str:
        return "; ".join(dict.fromkeys(line.strip() for line in self._lines if line.strip()))

    def __enter__(self) -> _quiet:
        for log in map(logging.getLogger, self.LOGGERS):
            self._passed_on[log], log.propagate = log.propagate, False
            log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for log, passed_on in self._passed_on.items():
            log.removeHandler(self)
            log.propagate = passed_on
