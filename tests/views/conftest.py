"""The wire between kernel and page, as the tests see it."""

from __future__ import annotations

from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm


class Wire(BaseComm):
    """A comm that keeps what the kernel sends; `receive` is the page speaking."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        super().__init__(*args, **kwargs)

    def publish_msg(
        self,
        msg_type: str,
        data: Any = None,
        metadata: Any = None,
        buffers: list[Any] | None = None,
        **keys: Any,
    ) -> None:
        self.sent.append((data, [bytes(buffer) for buffer in buffers or []]))

    def receive(self, content: dict[str, Any]) -> None:
        self.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def messages(self) -> list[tuple[dict[str, Any], list[bytes]]]:
        """The custom messages, each with its buffers."""
        return [(data["content"], buffers) for data, buffers in self.sent if data.get("method") == "custom"]

    def states(self) -> list[dict[str, Any]]:
        """The state updates after the first, with binary traits put back."""
        found = []
        for data, buffers in self.sent:
            if data.get("method") == "update":
                state = dict(data["state"])
                state.update({path[0]: buffer for path, buffer in zip(data["buffer_paths"], buffers, strict=True)})
                found.append(state)
        return found


@pytest.fixture(autouse=True)
def wires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every widget of a test gets a `Wire` as its comm."""
    monkeypatch.setattr(comm, "create_comm", lambda *args, **kwargs: Wire(*args, **kwargs))
