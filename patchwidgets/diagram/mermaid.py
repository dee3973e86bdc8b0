"""A diagram as a Mermaid flowchart.

Only a small, documented part of Mermaid is used: nodes with quoted labels, arrows with and without quoted labels,
subgraphs, classDef and class; see https://mermaid.js.org/syntax/flowchart.html. In a label everything but letters,
digits and a few signs is written as an entity code (`#34;`), so that no text of a prompt is read as Mermaid or as HTML.
"""

from __future__ import annotations

from ..spelling import shown_text
from . import RUNS, Diagram
from .palette import run_colours
from .text import shortened, shown

_PLAIN = " .,'()"
_COLUMNS = 72


def mermaid(diagram: Diagram) -> str:
    """Return the drawing as a Mermaid flowchart, one statement a line."""
    lines = ["flowchart LR"]
    for run in RUNS:
        lines += [f"    subgraph {run}_run[{_label(_name(run, diagram))}]", "        direction LR"]
        prompt = diagram.prompts[diagram.base if run == "patched" else run]
        lines.append(f"        {run}_prompt[{_label(prompt)}] --> {run}_part[{_label(_part(run, diagram))}]")
        lines += [f"        {run}_part --> {run}_metric[{_label(_metric(run, diagram))}]", "    end"]
    if diagram.taken:
        lines.append(f"    {diagram.source}_part ==>|{_label('put in')}| patched_part")
    lines.append(f"    {diagram.base}_run -.->|{_label('all else')}| patched_run")
    lines.append(f"    patched_metric --> comparison[{_label('; '.join(diagram.compared), 200)}]")
    lines += [f"    {run}_metric --> comparison" for run in (diagram.base, diagram.source)]
    lines += [f"    standing_{i}[{_label(told, 200)}]" for i, told in enumerate(diagram.standing)]
    for run, colour in run_colours("light").items():
        lines.append(f"    classDef {run} stroke:{colour},stroke-width:2px")
        lines.append(f"    class {run}_prompt,{run}_part,{run}_metric {run}")
    return "\n".join(lines) + "\n"


def _name(run: str, diagram: Diagram) -> str:
    return f"Patched run: the {diagram.base} run, changed" if run == "patched" else f"{run.capitalize()} run"


def _part(run: str, diagram: Diagram) -> str:
    return f"{diagram.part} {diagram.change}" if run == "patched" else diagram.part


def _metric(run: str, diagram: Diagram) -> str:
    return f"{diagram.metric} {shown(diagram.numbers[run])}" if run in diagram.numbers else diagram.metric


def _label(text: str, columns: float = _COLUMNS) -> str:
    """Return a quoted label."""
    plain = shortened(shown_text(text), columns)
    return '"' + "".join(letter if _harmless(letter) else f"#{ord(letter)};" for letter in plain) + '"'


def _harmless(letter: str) -> bool:
    return letter in _PLAIN or (letter.isalnum() and letter.isascii()) or ord(letter) > 0x2000 or letter.isalpha()
