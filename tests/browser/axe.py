"""axe-core, the accessibility checker, on a part of a page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

SOURCE = Path(__file__).resolve().parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
# Over a gradient or on a symbol it cannot tell; tests of the colours can.
UNDECIDED = "color-contrast"


def check_accessible(page: Page, css: str, what: str) -> None:
    """Fail with all that axe-core finds, or doubts, in the elements at `css`; what surrounds them is not ours."""
    if not SOURCE.is_file():
        raise AssertionError("axe-core is not there; run `npm ci` in js/, as `make check` does.")
    if not page.evaluate("'axe' in window"):
        page.evaluate(SOURCE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async ([css, undecided]) => {
            const { violations, incomplete, passes } = await axe.run({ include: [[css]] });
            const doubts = incomplete.filter(({ id }) => id !== undecided);
            return {
                passed: passes.length,
                told: [...violations, ...doubts].flatMap(({ id, help, nodes }) =>
                    nodes.map(({ html, failureSummary }) => `${id} (${help})\\n${html}\\n${failureSummary}`)),
            };
        }""",
        [css, UNDECIDED],
    )
    assert found["passed"] > 0, f"axe-core has checked nothing at {css}"
    assert not found["told"], f"{what}: {len(found['told'])} findings\n" + "\n\n".join(found["told"])
