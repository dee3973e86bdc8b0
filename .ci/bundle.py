"""Rebuild patchwidgets/static from js/ and fail if one byte changed. Needs `npm` on PATH and js/node_modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "patchwidgets" / "static"


def snapshot() -> dict[str, bytes]:
    """Return the bundle's files by name."""
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in STATIC.rglob("*") if path.is_file()}


def main() -> None:
    """Compare the bundle before and after a build from nothing."""
    before = snapshot()
    for name in before:
        (ROOT / name).unlink()
    built = subprocess.run(["npm", "run", "--silent", "build"], cwd=ROOT / "js")
    if built.returncode != 0:
        for name, content in before.items():
            (ROOT / name).write_bytes(content)
        sys.exit("The bundle does not build; the committed one is back in place.")
    after = snapshot()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        sys.exit(f"The bundle was not what js/ builds: {', '.join(changed)}. It is rebuilt now; commit it.")
    print(f"The bundle is what js/ builds: {len(after)} files, {sum(map(len, after.values()))} bytes")


if __name__ == "__main__":
    main()
