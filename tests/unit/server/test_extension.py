"""The Jupyter Server extension: found by its name, and its hook registered."""

import logging

import pytest

import jobnb
from jobnb.server.saved import FinalCards


class Server:
    """As much of a server application as an extension is given."""

    def __init__(self):
        self.hooks = []
        self.contents_manager = self
        self.log = logging.getLogger("server")

    def get(self, path):
        return {"type": "file", "content": path}

    def register_pre_save_hook(self, hook):
        self.hooks.append(hook)


def test_the_package_names_the_module_and_the_module_registers_the_hook():
    import importlib

    (point,) = jobnb._jupyter_server_extension_points()
    server = Server()
    importlib.import_module(point["module"])._load_jupyter_server_extension(server)
    (hook,) = server.hooks
    assert isinstance(hook, FinalCards)
    assert server.get("a.txt") == {"type": "file", "content": "a.txt"}


def test_jupyter_finds_the_extension():
    from jupyter_server.extension.manager import ExtensionPackage

    package = ExtensionPackage(name="jobnb", enabled=True)
    assert package.validate()


def test_an_installed_jobnb_is_switched_on():
    import importlib.metadata
    import json

    try:
        files = importlib.metadata.files("jobnb") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("jobnb is not installed here, only importable")
    # Both kinds of install put it into the environment; Jupyter reads every file of that folder.
    (file,) = [f for f in files if f.parts[-4:] == ("etc", "jupyter", "jupyter_server_config.d", "jobnb.json")]
    enabled = json.loads(file.locate().read_text())["ServerApp"]["jpserver_extensions"]
    assert list(enabled.values()) == [True]
    assert next(iter(enabled)).split(".")[0] == "jobnb"
