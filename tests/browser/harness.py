"""A real JupyterLab server and a real browser on it, with what a test needs to drive a notebook.

Nothing here waits for a fixed time to pass: every wait is for a state, and fails with words when it does not come.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import nbformat
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, Playwright, WebSocket

from tests.browser.server import Server, wait_until

Theme = Literal["light", "dark"]

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# JupyterLab without its question about news, as `make explore` has it.
QUIET = Path(__file__).resolve().parents[2] / ".ci" / "jupyter"
LAB_THEMES: dict[Theme, str] = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def launch_chromium(playwright: Playwright) -> Browser:
    """Start `$PATCHWIDGETS_CHROMIUM`, else the machine's `chromium`, else Playwright's own."""
    executable = os.environ.get("PATCHWIDGETS_CHROMIUM", shutil.which("chromium"))
    return playwright.chromium.launch(executable_path=executable or None, args=CHROMIUM_FLAGS)


class LabServer(Server):
    """A JupyterLab server on a free port of 127.0.0.1 that keeps all it writes under one folder.

    Use it as a context manager; leaving it ends the server and its kernels. `workspace` is the folder it shows.
    """

    TOKEN = "patchwidgets-tests"

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.data = folder / "data"
        self._runtime = folder / "runtime"
        environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_CONFIG_PATH": str(QUIET),
            "JUPYTER_DATA_DIR": str(self.data),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        super().__init__("JupyterLab", folder / "jupyterlab.log", environment)
        self.workspace.mkdir(parents=True)
        # Or else a notice asks, on every picture, whether news may be fetched.
        notices = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        notices.parent.mkdir(parents=True)
        notices.write_text('{"fetchNews": "false"}', encoding="utf-8")

    def __enter__(self) -> Self:
        options = [
            "--no-browser",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",
            f"--ServerApp.root_dir={self.workspace}",
            f"--IdentityProvider.token={self.TOKEN}",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]
        if os.geteuid() == 0:
            options.append("--allow-root")
        self._start(["jupyterlab", *options], self.workspace)
        return self

    def request(self, path: str, method: str = "GET") -> Any:
        """Ask the server's REST interface; returns the parsed JSON, None for an empty answer."""
        headers = {"Authorization": f"token {self.TOKEN}"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def end_kernels(self) -> None:
        """Shut every running kernel down, so that no test meets the kernel or the modules of the one before."""
        for kind in ("sessions", "kernels"):  # Voila's kernels have no session.
            for each in self.request(f"api/{kind}"):
                self.request(f"api/{kind}/{each['id']}", "DELETE")

    def _answers(self) -> bool:
        described = self._runtime / f"jpserver-{self._process.pid}.json"
        try:
            self.url = json.loads(described.read_text())["url"]
            self.request("api/status")
        except (FileNotFoundError, json.JSONDecodeError, urllib.error.URLError):
            return False
        return True


LATE = "[anywidget] Failed to initialize model."
"""What anywidget throws, for nobody to catch, when a module took over two seconds to load, as on a machine where many
tests run at once. A view that stays without its module shows nothing, and fails the test that looks at it."""


def is_foreign(url: str) -> bool:
    """Return whether fetching this address would leave the machine."""
    parts = urlsplit(url)
    return parts.scheme not in {"data", "blob", "file", "about"} and parts.hostname != "127.0.0.1"


@dataclass
class Traffic:
    """What a page said and asked for that it should not have, and the bytes that kernels sent it."""

    received: int = 0
    errors: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=lambda: [LATE])

    def watch(self, page: Page) -> None:
        """Start listening; call it before the page's first address."""
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", self._console)
        page.on("request", lambda request: self._address(request.url))
        page.on("websocket", self._socket)

    def verify(self) -> None:
        """Fail on uncaught errors, on errors written to the console, and on requests that leave this machine.

        What holds a text of `known` is the host's own and fails nothing.
        """
        errors, foreign = ([each for each in told if not self._is_known(each)] for told in (self.errors, self.foreign))
        assert not errors, "errors in the page:\n" + "\n".join(errors)
        assert not foreign, "requests that leave 127.0.0.1:\n" + "\n".join(foreign)

    def _is_known(self, told: str) -> bool:
        return any(known in told for known in self.known)

    def _console(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")
        if message.type == "error":
            self.errors.append(f"console: {message.text}")

    def _socket(self, socket: WebSocket) -> None:
        self._address(socket.url)
        if "/channels" in socket.url:
            socket.on("framereceived", self._count)

    def _count(self, payload: str | bytes) -> None:
        self.received += len(payload.encode() if isinstance(payload, str) else payload)

    def _address(self, url: str) -> None:
        if is_foreign(url):
            self.foreign.append(url)


# What an Explorer does comes in this order: a change that is paused for, a task that acts on it, a run that one starts.
_SETTLED = """(
    {name}._pause.idle and {name}._worker.idle and all(
        place is None or place.run is None or place.run._settled.is_set() for place in (
            {name}._screen, {name}._drilldown, {name}._drilldown.neurons, {name}._gathering, {name}._multiples,
            {name}._against
        )
    )
)"""


class Notebook:
    """One open notebook: `page` is Playwright's page, cells count from 0."""

    def __init__(self, page: Page, traffic: Traffic, artifacts: Path) -> None:
        self.page = page
        self.traffic = traffic
        self._artifacts = artifacts

    def wait_ready(self, seconds: float = 120) -> None:
        """Return once the notebook is shown and its kernel is idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=1000 * seconds)
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp?.shell.currentWidget;
                return panel?.sessionContext?.session?.kernel?.status === "idle";
            }""",
            timeout=1000 * seconds,
        )

    def run_cell(self, index: int, seconds: float = 300) -> list[dict[str, Any]]:
        """Run a cell as Shift+Enter does, wait until the kernel has answered, and return its outputs.

        An error in the cell is an AssertionError with the kernel's own traceback.
        """
        self.page.set_default_timeout(1000 * seconds)
        self.page.evaluate(
            """async index => {
                window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
                await window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            index,
        )
        outputs = self.outputs(index)
        for output in outputs:
            if output["output_type"] == "error":
                raise AssertionError("\n".join(output["traceback"]))
        return outputs

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell as the notebook format has them."""
        return self.page.evaluate(
            """index => {
                const outputs = window.jupyterapp.shell.currentWidget.content.widgets[index].model.outputs;
                return Array.from({length: outputs.length}, (_, i) => outputs.get(i).toJSON());
            }""",
            index,
        )

    def output(self, index: int) -> Locator:
        """Return the place on the page where a cell's outputs are shown."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"] .jp-Cell-outputArea')

    def kernel_eval(self, expression: str) -> Any:
        """Evaluate a Python expression in the notebook's kernel and return its value by way of JSON.

        Arrays arrive as lists, NaN as NaN. It waits its turn behind a running cell, but not behind threads. A kernel
        drops the requests that reach it just after an error: those are asked again.
        """
        wrapped = f"__import__('json').dumps({expression}, default=lambda value: value.tolist())"
        reply = self.page.evaluate(
            """async expression => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const request = {code: "", silent: true, user_expressions: {value: expression}};
                for (let tries = 50; ; tries--) {
                    const reply = (await kernel.requestExecute(request).done).content;
                    if (reply.status !== "aborted" || !tries) return reply;
                    await new Promise(resolve => setTimeout(resolve, 100));
                }
            }""",
            wrapped,
        )
        value = reply["user_expressions"]["value"]
        if value["status"] != "ok":
            raise AssertionError(f"{expression}: {value['ename']}: {value['evalue']}")
        return json.loads(ast.literal_eval(value["data"]["text/plain"]))

    def kernel_exec(self, code: str) -> None:
        """Run Python statements in the notebook's kernel, among its names, as `kernel_eval` does an expression."""
        self.kernel_eval(f"exec({code!r}, globals())")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Return once a Python expression is true in the kernel."""
        wait_until(lambda: self.kernel_eval(f"bool({expression})"), f"{expression} in the kernel", seconds)

    def settle(self, condition: str = "True", name: str = "explorer", seconds: float = 60) -> None:
        """Return once the Explorer of this name computes nothing more and a condition is true in the kernel."""
        self.wait_for(f"{_SETTLED.format(name=name)} and ({condition})", seconds)

    def theme(self, theme: Theme) -> None:
        """Change JupyterLab's theme and wait until the page has it."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", LAB_THEMES[theme]
        )
        light = "true" if theme == "light" else "false"
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def save(self) -> None:
        """Save the notebook file as Ctrl+S does."""
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Keep a picture of the page, or of one part of it, among the artifacts."""
        path = self._artifacts / f"{name}.png"
        (of or self.page).screenshot(path=path, animations="disabled")
        return path


class Lab:
    """Opens notebooks for one test and judges them when it is over."""

    ADDRESS = "lab/tree/{name}?token={token}&reset"

    def __init__(self, server: LabServer, browser: Browser, artifacts: Path) -> None:
        self._server = server
        self._browser = browser
        self._artifacts = artifacts
        self._contexts: list[BrowserContext] = []
        self.notebooks: list[Notebook] = []

    @property
    def workspace(self) -> Path:
        """The folder the server shows, and the kernels start in."""
        return self._server.workspace

    def open_notebook(
        self,
        cells: list[str],
        theme: Theme = "light",
        width: int = 1400,
        height: int = 1200,
        name: str = "test.ipynb",
    ) -> Notebook:
        """Write a notebook of these code cells into the workspace, open it in a fresh browser profile, run nothing."""
        self.write(cells, name)
        return self.open_file(name, theme, width, height)

    def write(self, cells: list[str], name: str) -> None:
        """Write a notebook of these code cells into the workspace."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.workspace / name)

    def open_file(
        self,
        name: str,
        theme: Theme = "light",
        width: int = 1400,
        height: int = 1200,
        *,
        trusted: bool = True,
        again: bool = False,
    ) -> Notebook:
        """Open a notebook that is already in the workspace, by default trusted, with a kernel of its own.

        `again` opens it as it is, with the kernel it has.
        """
        if not again:
            self._server.end_kernels()
        if trusted and not again:
            self._trust(self.workspace / name)
        opened = self.open_page(self.ADDRESS.format(name=name, token=self._server.TOKEN), width, height)
        page = opened.page
        opened.wait_ready()
        page.evaluate("window.jupyterapp.shell.collapseLeft()")
        opened.theme(theme)
        return opened

    def open_page(self, address: str, width: int = 1400, height: int = 1200) -> Notebook:
        """Open any address below the server's in a fresh browser profile."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            extra_http_headers={"Authorization": f"token {self._server.TOKEN}"},
        )
        self._contexts.append(context)
        context.route(is_foreign, lambda route: route.abort())
        traffic = Traffic()
        page = context.new_page()
        traffic.watch(page)
        page.goto(self._server.url + address, timeout=180_000)  # Voila runs the whole notebook first.
        opened = Notebook(page, traffic, self._artifacts)
        self.notebooks.append(opened)
        return opened

    def keep_last_look(self, name: str) -> None:
        """Keep a picture of every notebook still open, for a test that has failed."""
        for number, notebook in enumerate(self.notebooks):
            try:
                notebook.screenshot(f"failed-{name}-{number}")
            except Error as error:
                print(f"no picture of {name}: {error}", file=sys.stderr)
            print("\n".join(notebook.traffic.console), file=sys.stderr)

    def close(self) -> None:
        """Close the pages and end the kernels."""
        for context in self._contexts:
            context.close()
        self._server.end_kernels()

    def verify(self) -> None:
        """Fail if any page met an error or asked for anything beyond 127.0.0.1."""
        for notebook in self.notebooks:
            notebook.traffic.verify()

    def _trust(self, path: Path) -> None:
        notary = NotebookNotary(data_dir=str(self._server.data))
        notary.sign(nbformat.read(path, as_version=4))
        notary.store.close()
