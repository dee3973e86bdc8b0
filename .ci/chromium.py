"""Find or install a Chromium that starts, and write its path into a file: `python chromium.py FILE`.

Tried in this order: the machine's `chromium`, the one Playwright has, Debian's package if root, Playwright's download.
An empty file means Playwright's own. Run it with the Python that has Playwright. When nothing starts, one line says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROBE = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    p.chromium.launch(executable_path=sys.argv[1] or None, args=["--no-sandbox", "--disable-gpu"]).close()
"""


def quiet(*command: str) -> bool:
    """Run a command, keep what it says to itself, and return whether it succeeded."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL).returncode == 0


def starts(executable: str) -> bool:
    """Return whether Playwright can start this executable; the empty string is Playwright's own."""
    return quiet(sys.executable, "-c", PROBE, executable)


def machine() -> str | None:
    """Return the path of the machine's Chromium if it starts."""
    found = shutil.which("chromium")
    return found if found and starts(found) else None


def own() -> str | None:
    """Return the empty string if Playwright's own Chromium starts."""
    return "" if starts("") else None


def debian() -> str | None:
    """Install Debian's package, with a font so that screenshots show letters."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    print("Installing Chromium from the system's packages", flush=True)
    quiet("apt-get", "update")
    quiet("apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    return machine()


def download() -> str | None:
    """Let Playwright download its own, with the system libraries it needs when root."""
    print("Installing Playwright's Chromium", flush=True)
    libraries = ["--with-deps"] if os.geteuid() == 0 and shutil.which("apt-get") else []
    if not quiet(sys.executable, "-m", "playwright", "install", *libraries, "chromium"):
        return None
    return own()


def main(file: Path) -> None:
    """Write the path, or end with the one line."""
    attempts: list[Callable[[], str | None]] = [machine, own, debian, download]
    for attempt in attempts:
        found = attempt()
        if found is not None:
            file.write_text(found)
            return
    sys.exit(
        "No Chromium starts here: neither the system's packages nor Playwright's download could be had. "
        "Install the package 'chromium' as root, or run 'playwright install chromium', then try again."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
