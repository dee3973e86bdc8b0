"""One block taken apart at its attention: queries, keys and values; the attention; what comes after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import PatchError
from ..gate import let_go

FRONT, ENTRY, PROJECT, ATTEND, FINISH = "front", "entry", "project", "attend", "finish"
"""Where a hook is: before all blocks; at a block's input; where queries, keys and values are made; from there on in the
attention; after that, up to the block's output."""


class NotReplayable(PatchError):
    """The model's blocks, or what is asked of them, have no form that runs on a few rows; the text says why."""


class _Reached(Exception):
    """Carries what was wanted out of a block that need not go on."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class _Seam(nn.Module):
    """Stands where a block's attention is: stops the block there, or answers with an output given before."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.given: Tensor | None = None
        self.before = False
        self._others: int | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is given in the form the attention returns; else stop, `before` the attention or after it."""
        if self.given is not None:
            return self.given if self._others is None else (self.given, *[None] * self._others)
        if self.before:
            raise _Reached(args[0] if args else kwargs["hidden_states"])
        output = self.attention(*args, **kwargs)
        self._others = len(output) - 1 if isinstance(output, tuple) else None
        raise _Reached(first_of(output))


class _Projection(nn.Module):
    """Stands where an attention makes its queries, its keys or its values; answers with those given before."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.given: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is given, once, or what the module makes."""
        if self.given is None:
            return self.module(*args, **kwargs)
        given, self.given = self.given, None
        return given


class _Output(nn.Module):
    """Stands where an attention's heads write to the residual stream; may stop the block there."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.stops = False

    def forward(self, mixed: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return what the module makes of the heads' outputs, or stop with those."""
        if self.stops:
            raise _Reached(mixed)
        return self.module(mixed, *args, **kwargs)


def first_of(output: Any) -> Tensor:
    """Return a module's output, the first one where it has several."""
    return output[0] if isinstance(output, tuple) else output


class Part:
    """One block in pieces.

    Attributes:
        index: its layer.
        projects: whether `project` can be run apart from `attend`.
        mixes: whether `attend` can stop at the heads' outputs, before they are written to the residual stream.
    """

    def __init__(self, index: int, block: nn.Module, attention: nn.Module) -> None:
        self.index = index
        self._block = block
        inside: Any = block.original_component
        names = [name for name, child in inside._modules.items() if child is attention]
        if len(names) != 1:
            raise NotReplayable(f"block {index} does not hold its attention as a part of its own")
        self._attention, self._seam = attention, _Seam(attention)
        inside._modules[names[0]] = self._seam
        self._enter, self._leave = attention._modules.get("hook_in"), attention._modules.get("hook_out")
        self._projections: list[_Projection] = []
        self.projects = all(isinstance(attention._modules.get(name), nn.Module) for name in "qkv")
        if self.projects:
            for name in "qkv":
                attention._modules[name] = projection = _Projection(attention._modules[name])  # type: ignore[arg-type]
                self._projections.append(projection)
        self._output: _Output | None = None
        last = attention._modules.get("o")
        self.mixes = isinstance(last, nn.Module)
        if isinstance(last, nn.Module):
            attention._modules["o"] = self._output = _Output(last)

    def project(self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
        """Return the queries, keys and values that the attention makes of rows [n, pos, d]."""
        normed = self._stopped(rows, args, kwargs, before=True)
        normed = normed if self._enter is None else self._enter(normed)
        return [projection.module(normed) for projection in self._projections]

    def attend(
        self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any], projected: Sequence[Tensor] = (), *,
        mixing: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return the attention's output for rows [n, pos, d], or with `mixing` its heads' outputs side by side.

        `projected` are the queries, keys and values that `project` made of them.
        """
        try:
            for projection, made in zip(self._projections, projected, strict=False):
                projection.given = made
            if self._output is not None:
                self._output.stops = mixing
            attended = self._stopped(rows, args, kwargs, before=False)
            if any(projection.given is not None for projection in self._projections):
                raise NotReplayable(f"attention {self.index} does not take its queries, keys and values from its parts")
            return attended
        finally:
            for projection in self._projections:
                projection.given = None
            let_go(self._attention)

    def _stopped(self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any], *, before: bool) -> Tensor:
        self._seam.given, self._seam.before = None, before
        try:
            self._block(rows, *args, **kwargs)
        except _Reached as reached:
            return reached.output
        raise NotReplayable(f"block {self.index} does not call its attention")

    def finish(
        self, rows: Tensor, attended: Tensor, args: Sequence[Any], kwargs: dict[str, Any], *, mixing: bool = False
    ) -> Tensor:
        """Return the block's output for rows of which `attend` gave `attended`."""
        if mixing:
            assert self._output is not None
            attended = self._output.module(attended)
            attended = attended if self._leave is None else self._leave(attended)
        self._seam.given = attended
        try:
            return first_of(self._block(rows, *args, **kwargs))
        finally:
            self._seam.given = None
