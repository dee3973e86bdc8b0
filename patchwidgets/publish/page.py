"""One self-contained page of views: no kernel, no network, works from a file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

STATIC = Path(__file__).parent.parent / "static"

# What a widget's state holds for Jupyter's sake alone.
_JUPYTER_ONLY = frozenset({"layout", "tabbable", "tooltip"})


class HasState(Protocol):
    """Anything that gives its synced state, as every widget does."""

    def get_state(self) -> Mapping[str, Any]: ...


def render_page(
    title: str,
    views: Sequence[HasState],
    *,
    side: Sequence[HasState] = (),
    intro: Sequence[str] = (),
    details: Sequence[tuple[str, str]] = (),
) -> str:
    """Return an HTML page with `views` below each other, and `side` as cards beside them.

    A view whose title is the page's leaves it to the page. `intro` holds paragraphs; `details` holds (heading, text)
    blocks that open on a click, with the text set as typed, e.g. provenance or code. All text is plain text. Hover,
    selection, keyboard and table work as in a notebook; what needs a kernel does nothing. The page's own content
    policy forbids it to fetch anything.

    >>> "<h1>One &lt; two</h1>" in render_page("One < two", [])
    True
    """
    css = (STATIC / "widget.css").read_text(encoding="utf-8")
    js = (STATIC / "page.js").read_text(encoding="utf-8")
    for name, text, end in (("page.js", js, "</script"), ("widget.css", css, "</style")):
        if end in text.lower():
            raise AssertionError(f"{name} holds {end!r} and cannot be inlined")
    policy = (
        f"default-src 'none'; script-src '{_hash(js)}'; style-src '{_hash(css)}'; base-uri 'none'; form-action 'none'"
    )
    state = _json([_saved(view) for view in (*views, *side)])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{css}</style>",
            "</head>",
            '<body class="pw-page">',
            "<main>",
            f"<header><h1>{html.escape(title)}</h1>{''.join(_paragraph(text) for text in intro)}</header>",
            _places([_title(view) == title for view in views], len(side)),
            *(_details(heading, text) for heading, text in details),
            "<noscript><p>The map is drawn by a script in this file; this browser does not run it.</p></noscript>",
            "</main>",
            f'<script type="application/json" id="pw-state">{state}</script>',
            f"<script>{js}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _title(view: HasState) -> str | None:
    return view.get_state().get("words", {}).get("title")


def _places(titled: Sequence[bool], side: int) -> str:
    """The elements the script draws into, by the number of the saved state. `titled`: it has the page's own title."""
    main = len(titled)
    names = (' class="pw-page-titled"' if same else "" for same in titled)
    blocks = "".join(f'<div data-pw-view="{i}"{name}></div>' for i, name in enumerate(names))
    column = f'<div class="pw-page-main">{blocks}</div>'
    if not side:
        return column
    cards = "".join(f'<div class="pw-x-card" data-pw-view="{main + i}"></div>' for i in range(side))
    return f'<div class="pw-page-columns">{column}<div class="pw-page-side">{cards}</div></div>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _details(heading: str, text: str) -> str:
    return f"<details><summary>{html.escape(heading)}</summary><pre>{html.escape(text)}</pre></details>"


def _saved(view: HasState) -> dict[str, Any]:
    """The state without what only Jupyter needs, binary traits in base64."""
    state: dict[str, Any] = {}
    buffers: list[dict[str, Any]] = []
    for name, value in view.get_state().items():
        if name.startswith("_") or name in _JUPYTER_ONLY:
            continue
        if isinstance(value, bytes | bytearray | memoryview):
            buffers.append({"path": [name], "data": base64.b64encode(value).decode("ascii")})
        else:
            state[name] = value
    return {"state": state, "buffers": buffers}


def _json(value: object) -> str:
    """JSON that no parser of HTML can mistake for markup: data cannot end the script element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
