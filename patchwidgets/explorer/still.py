"""What a saved notebook keeps of an Explorer, and shows when no kernel stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.display import display, update_display

from ..publish.still import still_of
from ..result import PatchResult
from ..views.still import still_page

_NOTE = "The last whole map of an Explorer that was here. Run the cell again to have the Explorer."
_NOTHING = "An Explorer was here, and no run in it had come to its end. Run the cell again to have the Explorer."


class Still:
    """A table of the last whole result an Explorer showed, in an output of its own before the Explorer's.

    JupyterLab saves outputs, and not the state of widgets unless it is told to: of an Explorer alone it would show an
    error when the notebook is opened again. `later` does a task on the Explorer's thread.
    """

    def __init__(self, name: str, later: Callable[[Callable[[], None]], None]) -> None:
        self._name, self._later = name, later
        self._result: PatchResult | None = None
        self._shown: PatchResult | None = None
        self._displayed = False

    def display(self) -> None:
        """Put the table where outputs go now; called again, there as well."""
        result = self._result
        display(self._bundle(), raw=True, display_id=self.mark)
        self._displayed, self._shown = True, result
        if self._result is not result:
            self._later(self._update)

    def keep(self, result: PatchResult | None) -> None:
        """Take another result into what is displayed; None leaves the last one there."""
        if result is None:
            return
        self._result = result
        if self._displayed:
            self._later(self._update)

    def close(self) -> None:
        """Hold no result any more; the last one stays displayed."""
        if self._displayed and self._result is not self._shown:
            self._update()
        self._result, self._shown, self._displayed = None, None, False

    @property
    def mark(self) -> str:
        """The style class of the Explorer that this is the still of."""
        return f"pw-x-{self._name}"

    def _update(self) -> None:
        result = self._result
        if result is not None:  # else it was closed meanwhile
            update_display(self._bundle_of(result), raw=True, display_id=self.mark)
            self._shown = result

    def _bundle(self) -> dict[str, Any]:
        """Return the table, and what the result says as plain text: a terminal prints that before the Explorer's."""
        result = self._result
        if result is None:
            return {"text/plain": "", "text/html": still_page(self.mark, _NOTHING)}
        return self._bundle_of(result)

    def _bundle_of(self, result: PatchResult) -> dict[str, Any]:
        page = still_page(self.mark, _NOTE, still_of(result))
        return {"text/plain": result.describe(), "text/html": page}
