from __future__ import annotations

import hashlib
import importlib.util
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobnb import packing
from jobnb.errors import Unpicklable
from jobnb.work import CallWork, MapWork, load_call, load_map


class Shelf:
    """Keeps blobs in a folder, as a store does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, content: bytes) -> str:
        sha = hashlib.sha256(content).hexdigest()
        (self.folder / sha).write_bytes(content)
        return sha


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    from jobnb.worker import blobs

    monkeypatch.setattr(blobs, "path", lambda sha: tmp_path / sha)
    return Shelf(tmp_path)


def test_small_things_travel_inside(shelf: Shelf) -> None:
    packed = packing.pack(CallWork(fn=max, args=(1, 2)), shelf.keep)
    assert packed.blobs == ()
    assert load_call([pickle.loads(packed.payload).run(0, 1, None, lambda done: None).result]) == 2


def test_a_large_array_is_put_aside_once_and_mapped(shelf: Shelf) -> None:
    big = np.arange(300_000, dtype=np.float64)
    packed = packing.pack(CallWork(fn=np.sum, args=(big,), kwargs={"initial": 0}), shelf.keep)
    again = packing.pack(CallWork(fn=np.mean, args=(big,)), shelf.keep)
    assert len(packed.payload) < 2_000
    assert packed.blobs == again.blobs
    back = pickle.loads(packed.payload).args[0]
    assert type(back) is np.ndarray
    assert isinstance(back.base, np.memmap)
    np.testing.assert_array_equal(back, big)
    back[0] = 7.0
    assert np.load(shelf.folder / packed.blobs[0])[0] == 0.0


def test_a_large_frame_keeps_its_types_and_can_be_changed(shelf: Shelf) -> None:
    frame = pd.DataFrame(
        {"a": np.arange(200_000), "b": np.linspace(0, 1, 200_000)},
        index=pd.date_range("2020", periods=200_000, freq="min"),
    )
    packed = packing.pack(CallWork(fn=len, args=(frame,)), shelf.keep)
    assert packed.blobs
    assert len(packed.payload) < 20_000
    back = pickle.loads(packed.payload).args[0]
    pd.testing.assert_frame_equal(back, frame)
    back.iloc[0, 1] = 5.0
    assert back.iloc[0, 1] == 5.0


def test_object_arrays_are_never_loaded_from_a_file(shelf: Shelf) -> None:
    packed = packing.pack(CallWork(fn=len, args=(np.array(["x" * 50] * 200_000, dtype=object),)), shelf.keep)
    assert packed.blobs == ()


@pytest.mark.parametrize("thing", [threading.Lock(), (i for i in range(3))])
def test_what_cannot_be_sent_is_named(shelf: Shelf, thing: object) -> None:
    with pytest.raises(Unpicklable, match="cannot be sent to another process") as caught:
        packing.pack(CallWork(fn=print, args=(thing,)), shelf.keep)
    assert caught.value.code == "UNPICKLABLE"


def test_a_module_by_value_needs_no_import(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "my_local_rules.py"
    file.write_text("FACTOR = 3\ndef triple(x):\n    return FACTOR * x\n")
    spec = importlib.util.spec_from_file_location("my_local_rules", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_local_rules"] = module
    spec.loader.exec_module(module)
    assert packing.is_local(module)
    packed = packing.pack(MapWork(fn=module.triple, items=[1, 2]), shelf.keep, by_value=[module])
    del sys.modules["my_local_rules"]
    work = pickle.loads(packed.payload)
    assert load_map([work.run(0, 2, None, lambda done: None).result]) == [3, 6]


def test_installed_modules_are_not_local() -> None:
    assert not packing.is_local(np)
    assert not packing.is_local(pickle)
    assert not packing.is_local(packing)


def test_the_snapshot_says_what_is_needed_to_run_again() -> None:
    shot = packing.snapshot(None, test_small_things_travel_inside)
    assert shot["versions"]["python"]
    assert shot["versions"]["numpy"] == np.__version__
    assert 0 <= shot["seed"] < 2**32
    assert "def test_small_things" in shot["source"]
    assert packing.snapshot(5, None)["seed"] == 5
