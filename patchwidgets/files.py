"""Writing files whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


def check_folder(target: Path) -> None:
    """Raise FileError where there is no folder to write `target` into."""
    if not target.absolute().parent.is_dir():
        raise FileError(f"there is no folder {str(target.parent)!r}; make it first, or save somewhere else.")


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; it takes the target's place when the block ends without an error.

    A file that was at `target` stays as it was until then, and nothing else is left behind. Raises FileError where
    `target` is a folder, or would be in one that is not there.
    """
    check_folder(target)
    if target.is_dir():
        raise FileError(f"{str(target)!r} is a folder; give the name of a file.")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Give the path of a folder to make beside `target`; it takes the target's place when the block ends without error.

    A folder that was at `target` stays as it was until then. A folder cannot replace a full one in one step: for the
    moment between two renamings there is none; when the second fails the first is taken back. Raises FileError where
    there is no folder to make it in.
    """
    check_folder(target)
    token = uuid.uuid4().hex
    partial, old = (target.with_name(f".{target.name}.{token}{end}") for end in ("", ".old"))
    try:
        yield partial
        if target.exists():
            target.rename(old)
        try:
            partial.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
