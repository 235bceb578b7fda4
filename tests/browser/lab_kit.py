"""Start and stop JupyterLab, and drive it through ``window.jupyterapp`` in a page of headless Chromium."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
#: No news pop-up over the notebook.
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


class Lab:
    """A JupyterLab server with its own settings, notebooks and jobnb home under one folder."""

    def __init__(self, folder):
        self.root, self.home, self.state = folder / "notebooks", folder / "home", folder / "state"
        self.root.mkdir()
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self.log = folder / "lab.log"
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
            *("--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"),
            *(f"--ServerApp.root_dir={self.root}", "--LabApp.expose_app_in_browser=True"),
            # As the installed configuration does, also where this checkout is not installed.
            '--ServerApp.jpserver_extensions={"jobnb": True, "jupyterlab": True}',
        ]
        if os.geteuid() == 0:
            command.append("--allow-root")
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                command, stdout=said, stderr=subprocess.STDOUT, env=self._environment(), start_new_session=True
            )
        self._wait_until_up()

    def _environment(self):
        env = dict(os.environ, JOBNB_HOME=str(self.home), JUPYTER_PLATFORM_DIRS="1")
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            env[f"JUPYTER_{name}"] = str(self.state / name.lower())
        for name in ("SETTINGS_DIR", "WORKSPACES_DIR"):
            env[f"JUPYTERLAB_{name}"] = str(self.state / name.lower())
        env["IPYTHONDIR"] = str(self.state / "ipython")
        env["PATH"] = str(Path(sys.executable).parent) + os.pathsep + env["PATH"]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
        for plugin, value in SETTINGS.items():
            package, name = plugin.rsplit(":", 1)
            file = self.state / "settings_dir" / package / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        return env

    def _wait_until_up(self, timeout=60):
        ends = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None or time.monotonic() > ends:
                self.stop()
                raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()}")
            with contextlib.suppress(OSError):
                self.get("api/status")
                return
            time.sleep(0.1)

    def get(self, path):
        """Ask the server's REST API."""
        request = urllib.request.Request(f"{self.base}/{path}", headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def stop(self):
        """End the server and its kernels; a second SIGINT would ask for confirmation, SIGTERM does not."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def write(self, name, *cells):
        """Write a notebook of code cells and return its name."""
        import nbformat.v4 as v4

        # Without a kernel's name Lab asks for one in a dialog.
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells], metadata=spec)
        (self.root / name).write_text(json.dumps(notebook))
        return name

    def outputs(self, name):
        """Return the outputs of a notebook as they are on disk."""
        cells = json.loads((self.root / name).read_text())["cells"]
        return [output for cell in cells for output in cell.get("outputs", ())]


class Notebook:
    """A notebook open in a page of JupyterLab."""

    def __init__(self, lab, page, name):
        self.lab, self.page, self.name = lab, page, name

    def open(self, reset=True):
        """Load the page with the notebook and wait until its kernel can take cells."""
        self.page.goto(f"{self.lab.base}/lab/tree/{self.name}?token={self.lab.token}{'&reset' if reset else ''}")
        self._restored()
        self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook").wait_for()
        self.page.evaluate(
            """async () => {
                const w = window.jupyterapp.shell.currentWidget;
                await w.context.ready; await w.revealed;
            }"""
        )
        self.idle()
        return self

    def open_without_kernel(self):
        """Load the page anew and open the notebook as a reader does who starts no kernel."""
        self.page.goto(f"{self.lab.base}/lab?token={self.lab.token}&reset")
        self._restored()
        self.page.evaluate(
            """async path => {
                const kernelPreference = {shouldStart: false, canStart: false, autoStartDefault: false};
                const w = await window.jupyterapp.commands.execute('docmanager:open', {path, kernelPreference});
                await w.context.ready; await w.revealed;
            }""",
            self.name,
        )
        self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook").wait_for()
        return self

    def _restored(self):
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
        self.page.evaluate("() => window.jupyterapp.restored.then(() => true)")

    def idle(self, timeout=30_000):
        """Wait until the kernel is there and does nothing: the toolbar says idle before there is one."""
        self.page.wait_for_function(
            """() => {
                const w = window.jupyterapp.shell.currentWidget;
                const k = w && w.sessionContext && w.sessionContext.session && w.sessionContext.session.kernel;
                return !!k && k.connectionStatus === 'connected' && k.status === 'idle';
            }""",
            timeout=timeout,
        )

    def run_all(self):
        """Run all cells to their end; fail if one failed or was not run."""
        self.start_all()
        self.all_ran()

    def start_all(self):
        """Begin to run all cells, without waiting: `page.evaluate` would wait for ever."""
        self.page.evaluate(
            """() => {
                window.__ran = undefined;
                window.jupyterapp.commands.execute('notebook:run-all-cells')
                    .then(r => { window.__ran = {ok: r}; }, e => { window.__ran = {error: String(e)}; });
            }"""
        )

    def all_ran(self, timeout=120_000):
        """Wait for the cells that `start_all` began."""
        ran = self.page.wait_for_function("() => window.__ran", timeout=timeout).json_value()
        self.idle(timeout)
        # Where the kernel was not quite ready, Lab runs nothing and says nothing.
        missed = self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(
                c => c.type === 'code' && c.sharedModel.getSource().trim() && c.executionCount === null).length"""
        )
        assert ran.get("ok") is True, ran
        assert missed == 0, f"{missed} cells did not run"

    def save(self):
        """Save, and wait until the server has answered."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => true)")

    def shut_down_kernel(self):
        """End the kernel and wait until the server has none for this notebook."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown().then(() => true)")

    @property
    def outputs(self):
        """What the cells show; never the cells' own text."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output")

    def card(self, state=""):
        """Return the locator of the cards in a state."""
        return self.outputs.locator(f"section.jn-card{f'.jn-{state}' if state else ''}")
