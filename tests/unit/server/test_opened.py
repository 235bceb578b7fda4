"""Notebooks are mended on their way to the page, by plain and by ``async`` contents managers; nothing else is."""

import asyncio

import pytest

from jobnb.server.opened import mend_on_open


class Plain:
    def __init__(self):
        self.asked = []

    def get(self, path, content=True, type=None, format=None, require_hash=False):
        """Read."""
        self.asked.append((path, content, type, format, require_hash))
        if path == "missing.ipynb":
            raise FileNotFoundError(path)
        return {"type": "notebook", "content": {"cells": []} if content else None}


class Async(Plain):
    async def get(self, path, content=True, type=None, format=None, require_hash=False):
        return super().get(path, content, type, format, require_hash)


def mend(model, path):
    model["mended"] = path


def read(contents, *args, **kwargs):
    found = contents.get(*args, **kwargs)
    return asyncio.run(found) if isinstance(contents, Async) else found


@pytest.mark.parametrize("kind", [Plain, Async])
def test_what_is_opened_is_mended(kind):
    contents = kind()
    mend_on_open(contents, mend)
    assert read(contents, "a.ipynb") == {"type": "notebook", "content": {"cells": []}, "mended": "a.ipynb"}
    assert read(contents, path="b.ipynb", type="notebook", require_hash=True)["mended"] == "b.ipynb"
    assert contents.asked == [("a.ipynb", True, None, None, False), ("b.ipynb", True, "notebook", None, True)]


@pytest.mark.parametrize("kind", [Plain, Async])
def test_an_error_of_reading_is_the_readers(kind):
    contents = kind()
    mend_on_open(contents, mend)
    with pytest.raises(FileNotFoundError):
        read(contents, "missing.ipynb")


def test_a_listing_without_contents_is_left_alone():
    from jobnb.server.saved import FinalCards

    contents = Plain()
    mend_on_open(contents, FinalCards())
    assert contents.get("a.ipynb", content=False) == {"type": "notebook", "content": None}
