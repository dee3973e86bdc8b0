"""axe-core, the accessibility checker, on a part of a page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

SOURCE = Path(__file__).resolve().parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
# Over a gradient or on a symbol it cannot tell; tests of the colours can.
UNDECIDED = "color-contrast"


_LOOKS = 3
_RUN = """async ([css, undecided]) => {
    const { violations, incomplete, passes } = await axe.run({ include: [[css]] });
    const doubts = incomplete.filter(({ id }) => id !== undecided);
    return {
        passed: passes.length,
        told: [...violations, ...doubts].flatMap(({ id, help, nodes }) =>
            nodes.map(({ html, failureSummary }) => `${id} (${help})\\n${html}\\n${failureSummary}`)),
    };
}"""


def check_accessible(page: Page, css: str, what: str) -> None:
    """Fail with all that axe-core finds, or doubts, in the elements at `css`; what surrounds them is not ours.

    It looks for a while, and may see half of what is drawn anew meanwhile: what counts is found in every look.
    """
    if not SOURCE.is_file():
        raise AssertionError("axe-core is not there; run `npm ci` in js/, as `make check` does.")
    if not page.evaluate("'axe' in window"):
        page.evaluate(SOURCE.read_text(encoding="utf-8"))
    told: list[str] = []
    for _ in range(_LOOKS):
        found = page.evaluate(_RUN, [css, UNDECIDED])
        assert found["passed"] > 0, f"axe-core has checked nothing at {css}"
        told = found["told"]
        if not told:
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"{what}: {len(told)} findings\n" + "\n\n".join(told))
