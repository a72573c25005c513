"""Draws `fanout --json` from standard input as an SVG: `python -m benchmarks.chart <in.json >out.svg`."""

from __future__ import annotations

import json
import sys
from html import escape
from typing import Any

__all__ = ["draw"]

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.bar{fill:#57606a}.ours{fill:#0969da}"
    ".range{stroke:#1f2328;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#8b949e}.ours{fill:#58a6ff}"
    ".range{stroke:#e6edf3}}"
)
_FIGURE = "CPU µs/message"
_LINE, _LEFT, _WIDTH, _RIGHT = 28, 250, 380, 110


def draw(rows: list[dict[str, Any]]) -> str:
    """Bars of the median CPU per message with the range of the turns; without the other tree's."""
    rows = [row for row in rows if "other tree" not in row["server"]]
    rows.sort(key=lambda row: float(row[_FIGURE]["median"]))
    scale = _WIDTH / max(row[_FIGURE]["high"] for row in rows)
    width, height = _LEFT + _WIDTH + _RIGHT, _LINE * (len(rows) + 1)
    head = "server CPU, µs for each delivered message (line: smallest to largest)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{head}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="18">{head}</text>',
        *(_bar(row, _LINE * index, scale) for index, row in enumerate(rows, 1)),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


def _bar(row: dict[str, Any], top: int, scale: float) -> str:
    name, cpu = escape(row["server"]), row[_FIGURE]
    low, middle, high = (cpu[each] * scale for each in ("low", "median", "high"))
    y = top + _LINE / 2
    kind = "ours" if " door," in name else "bar"
    return (
        f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{name}</text>\n'
        f'<rect class="{kind}" x="{_LEFT}" y="{y - 9:g}" width="{middle:.1f}" height="18"/>\n'
        f'<line class="range" x1="{_LEFT + low:.1f}" x2="{_LEFT + high:.1f}" y1="{y:g}" y2="{y:g}"/>\n'
        f'<text x="{_LEFT + high + 8:.1f}" y="{y + 4:g}">{cpu["median"]:.1f}</text>'
    )


if __name__ == "__main__":
    sys.stdout.write(draw(json.load(sys.stdin)["rows"]))
