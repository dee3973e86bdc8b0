"""Make the environment the Makefile works in: `python environment.py FOLDER`. One already there is kept.

This file alone must be read by a Python too old for the rest, so that it can say so: no type hints, no f-strings.
"""

import os
import subprocess
import sys

OLDEST = (3, 11)


def succeeds(command):
    """Return whether a command ends well, keeping what it prints to itself."""
    with open(os.devnull, "w") as nowhere:
        return subprocess.call(command, stdout=nowhere, stderr=nowhere) == 0


def make(folder):
    """Create the environment, or end with one line that names the remedy."""
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit("patchwidgets needs Python 3.11 or newer, this is " + found + "; name another: make PYTHON=python3.12")
    python = os.path.join(folder, "bin", "python")
    if os.path.exists(python) and succeeds([python, "-m", "pip", "--version"]):
        if not succeeds([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]):
            sys.exit(folder + " holds a Python older than 3.11: remove it, or name another folder: make VENV=.venv311")
        return
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError as error:
        sys.exit(
            "This Python cannot make environments (no module " + str(error.name) + "): install its venv package, "
            "on Debian and Ubuntu with 'apt-get install python3-venv', or name another: make PYTHON=..."
        )
    venv.create(folder, with_pip=True)


if __name__ == "__main__":
    make(sys.argv[1])
