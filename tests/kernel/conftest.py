"""A real kernel: run code, collect what it displays, press widget buttons the ways that notebooks do."""

import os
import queue
import signal
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Ran:
    """What one cell gave: its reply, what it printed, and its displays in the order they came."""

    def __init__(self, reply, messages):
        self.reply = reply
        self.messages = messages

    @property
    def ok(self):
        return self.reply["content"]["status"] == "ok"

    @property
    def stdout(self):
        return "".join(m["content"]["text"] for m in self.messages if m["msg_type"] == "stream")

    @property
    def error(self):
        """Text of an error, whether it is a traceback or IPython's one line on stderr."""
        found = [m["content"] for m in self.messages if m["msg_type"] == "error"]
        return "\n".join("\n".join(c["traceback"]) for c in found) or self.stdout

    @property
    def displays(self):
        kinds = ("display_data", "execute_result")
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]


class Kernel:
    """A running ipykernel with jobnb in reach.

    Every iopub message is kept in ``messages``, so that cards that move after their cell are seen too.
    """

    def __init__(self, home, cwd, python=sys.executable):
        from jupyter_client import KernelManager

        env = dict(os.environ, JOBNB_HOME=str(home), IPYTHONDIR=str(Path(home).parent / "ipython"))
        # One worker starts faster than one per core.
        env.setdefault("DASK_JOBNB__WORKERS", "1")
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
        # ipykernel warns about unencrypted TCP; a socket file needs none of it.
        self.manager = KernelManager(transport="ipc", ip=str(Path(home).parent / f"k-{uuid.uuid4().hex[:8]}"))
        if python != sys.executable:
            self.manager._kernel_cmd = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # What the kernel says on stderr stays out of the test's output, and beside the home for who looks for it.
        with (Path(home).parent / "kernel.err").open("ab") as said:
            self.manager.start_kernel(env=env, cwd=str(cwd), stderr=said)
        self.messages = []
        self._connect()

    def _connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def restart(self):
        """Kill the kernel and start it again, as a user does after a crash."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self._connect()

    def start(self, code):
        """Send a cell and return its message id, without waiting."""
        return self.client.execute(code)

    def run(self, code, timeout=60):
        """Run a cell to its end."""
        return self.finish(self.start(code), timeout)

    def finish(self, msg_id, timeout=60):
        """Wait for the end of a cell that `start` has sent."""

        def idle():
            return any(
                m["msg_type"] == "status"
                and m["content"]["execution_state"] == "idle"
                and m["parent_header"].get("msg_id") == msg_id
                for m in self.messages
            )

        self.until(idle, timeout, what=f"cell {msg_id} to end")
        reply = self._reply(msg_id, timeout)
        mine = [m for m in self.messages if m["parent_header"].get("msg_id") == msg_id]
        return Ran(reply, mine)

    def _reply(self, msg_id, timeout):
        while True:
            reply = self.client.get_shell_msg(timeout=timeout)
            if reply["parent_header"].get("msg_id") == msg_id:
                return reply

    def pump(self, timeout=0.05):
        """Take in what the kernel has sent; returns after one message or ``timeout`` seconds."""
        try:
            self.messages.append(self.client.get_iopub_msg(timeout=timeout))
        except queue.Empty:
            return False
        return True

    def until(self, condition, timeout=30, what="a condition"):
        """Take messages in until ``condition()`` is true, and return what it returned."""
        ends = time.monotonic() + timeout
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > ends:
                raise TimeoutError(f"waited {timeout} s for {what}")
            self.pump()

    def value(self, expression, timeout=60):
        """Return the repr of an expression, evaluated without a cell."""
        msg_id = self.client.execute("", silent=True, user_expressions={"v": expression})
        found = self._reply(msg_id, timeout)["content"]["user_expressions"]["v"]
        if found["status"] != "ok":
            raise AssertionError(found)
        return found["data"]["text/plain"]

    def interrupt(self):
        """Send what the stop button of a notebook sends."""
        self.manager.interrupt_kernel()

    def kill(self):
        """End the kernel as an out-of-memory killer does."""
        self.manager.signal_kernel(signal.SIGKILL)
        self.until(lambda: not self.manager.is_alive(), 10, "the kernel to be gone")

    # Widgets

    def models(self):
        """Return the state of each open widget, by its id, with all updates so far."""
        models = {}
        for message in self.messages:
            content = message["content"]
            if message["msg_type"] == "comm_open":
                models[content["comm_id"]] = dict(content["data"]["state"])
            elif message["msg_type"] == "comm_msg" and content["data"].get("method") in ("update", "echo_update"):
                models.setdefault(content["comm_id"], {}).update(content["data"]["state"])
            elif message["msg_type"] == "comm_close":
                models.pop(content["comm_id"], None)
        return models

    def updates(self, model_id):
        """Return ``[(when, state)]`` of the updates of one widget."""
        return [
            (m["header"]["date"], m["content"]["data"]["state"])
            for m in self.messages
            if m["msg_type"] == "comm_msg"
            and m["content"]["comm_id"] == model_id
            and m["content"]["data"].get("method") == "update"
        ]

    def button(self, description):
        """Return the id of the newest button with that text, or None."""
        found = [i for i, s in self.models().items() if s.get("description") == description]
        return found[-1] if found else None

    def card_html(self):
        """Return the HTML of the newest card's widget, or an empty string."""
        found = [s["value"] for s in self.models().values() if "<section" in str(s.get("value", ""))]
        return found[-1] if found else ""

    def updated_displays(self):
        """Return the contents of ``update_display_data``: the final cards."""
        return [m["content"] for m in self.messages if m["msg_type"] == "update_display_data"]

    def subshell(self):
        """Make a subshell, as JupyterLab does for widgets; None where the kernel knows none."""
        info = self._reply(self.client.kernel_info(), 10)["content"]
        if "kernel subshells" not in info.get("supported_features", ()):
            return None
        message = self.client.session.msg("create_subshell_request")
        self.client.control_channel.send(message)
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            try:
                reply = self.client.get_control_msg(timeout=1)
            except queue.Empty:
                continue
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply["content"].get("subshell_id")
        return None

    def click(self, model_id, subshell_id=None):
        """Press a button; with ``subshell_id`` the way JupyterLab 4.4 and later does."""
        data = {"method": "custom", "content": {"event": "click"}}
        message = self.client.session.msg("comm_msg", {"comm_id": model_id, "data": data})
        if subshell_id is not None:
            message["header"]["subshell_id"] = subshell_id
        self.client.shell_channel.send(message)


@pytest.fixture(scope="session")
def leavers():
    """Services that were asked to leave while the next test begins; at the end none of their processes is left."""
    processes = []
    yield processes
    _, alive = psutil.wait_procs(processes, timeout=15)
    for process in alive:
        process.kill()
    assert not alive, f"processes outlive their service: {alive}"


@pytest.fixture
def home(tmp_path, leavers):
    """A jobnb home of this test's own; its service leaves afterwards."""
    path = tmp_path / "home"
    yield path
    leavers.extend(dismiss(path))


def dismiss(home):
    """Ask the service of a home to leave; return its process and all that it started."""
    from jobnb.manager import JobManager

    if not Path(home).exists():
        return []
    manager = JobManager(home=home)
    try:
        # One that is only just starting has no lease yet and cannot be asked to leave.
        while (lease := manager.daemon.lease()) is None:
            if not starting(home):
                return []
            time.sleep(0.01)
        service = psutil.Process(lease.pid)
        family = [service, *service.children(recursive=True)]
        manager.store.leases.request_stop(lease.cluster)
    finally:
        manager.close()
    return family


def starting(home):
    """Tell whether a service of a home is there, with or without a lease."""
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if "jobnb.service" in command and str(home) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            return True
    return False


@pytest.fixture
def store(home):
    """A manager of this process that looks into the kernel's store."""
    from jobnb.manager import JobManager

    manager = JobManager(home=home)
    yield manager
    manager.close()


@pytest.fixture
def service(store, monkeypatch):
    """Start the service while the kernel starts, for tests that are not about who starts it."""
    monkeypatch.setenv("DASK_JOBNB__WORKERS", "1")
    store.daemon.ensure()


@pytest.fixture
def kernels(home, tmp_path):
    """Start kernels on one home: ``kernels()`` gives another one; all are ended after the test."""
    running = []

    def start(**more):
        running.append(Kernel(home, tmp_path, **more))
        return running[-1]

    try:
        yield start
    finally:
        for kernel in running:
            kernel.close()


@pytest.fixture
def kernel(kernels):
    """A real kernel with ``%load_ext jobnb`` done."""
    kernel = kernels()
    assert kernel.run("%load_ext jobnb").ok
    return kernel
