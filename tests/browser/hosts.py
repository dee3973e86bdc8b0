"""The other places where notebooks are shown: Notebook 7 and Voila on JupyterLab's server, and marimo on its own."""

from __future__ import annotations

import os
import shutil
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from tests.browser.harness import Lab, Notebook
from tests.browser.server import Server

# What an empty notebook says there as well. Notebook 7.6 reads the schema of settings that it does not have; Voila 0.5
# loads Notebook 7's extension of JupyterLab, and asks two other servers for Font Awesome and for MathJax.
HOSTS_OWN = (
    "uncaught: Cannot read properties of undefined (reading 'schema')",
    "uncaught: Command 'filebrowser:open-path' not registered.",
    "labextensions/@jupyter-notebook/",
    "console: Failed to load resource: net::ERR_FAILED",
    "/fontawesome-free@",
    "/mathjax/",
)


class NotebookSeven(Lab):
    """Opens notebooks as Jupyter Notebook 7 shows them, and pages of Voila; all else is as in JupyterLab."""

    ADDRESS = "notebooks/{name}?token={token}"

    def open_voila(self, name: str, width: int = 1400, height: int = 1200) -> Notebook:
        """Let Voila run a notebook of the workspace with a kernel of its own and show its outputs."""
        self._server.end_kernels()
        return self.open_page(f"voila/render/{name}?token={self._server.TOKEN}", width, height)

    def verify(self) -> None:
        """Fail on errors and requests that are not the hosts' own."""
        for notebook in self.notebooks:
            notebook.traffic.known.extend(HOSTS_OWN)
        super().verify()


class MarimoServer(Server):
    """`marimo run` of a copy of one notebook on a free port of 127.0.0.1, with its code hidden.

    Use it as a context manager; leaving it ends the server. What it writes stays in `folder`.
    """

    def __init__(self, notebook: Path, folder: Path) -> None:
        self._folder = folder
        self._notebook = shutil.copy(notebook, folder)  # marimo writes beside what it runs.
        environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
            "MARIMO_SKIP_UPDATE_CHECK": "1",
        }
        super().__init__("marimo", folder / "marimo.log", environment)

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        options = ["--headless", "--no-token", "--host", "127.0.0.1", "--port", str(port)]
        config = self._folder / "config" / "marimo" / "marimo.toml"
        config.parent.mkdir(parents=True)
        config.write_text('[display]\ntheme = "system"\n', encoding="utf-8")
        self._start(["marimo", "run", *options, str(self._notebook)], self._folder)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}health", timeout=10):
                return True
        except urllib.error.URLError:
            return False
