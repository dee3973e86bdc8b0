"""What goes wrong while the Explorer works: the page tells it, and a log keeps what nobody foresaw."""

from __future__ import annotations

import logging

from ..errors import PatchError, in_words

_LOG = logging.getLogger(__name__)


def why(error: Exception, failed: str) -> str:
    """Return an error in words; what nobody foresaw is logged as well, as that `failed`."""
    if not isinstance(error, PatchError):
        _LOG.error(failed, exc_info=error)
    return in_words(error)
