"""The figures as a table, as data, and as a picture."""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.measure import ROWS, Row

Figures = dict[str, dict[str, float]]
"""Candidate to row to median."""

CANDIDATES = ("direct", "kube-gateway", "envoy")


def gain(row: Row, figures: Figures, *, over: str) -> float | None:
    """How many times better kube-gateway is than `over`: above 1 is better, whichever way the figure counts."""
    ours, theirs = figures["kube-gateway"].get(row.key), figures[over].get(row.key)
    if not ours or not theirs:
        return None
    return ours / theirs if row.more_is_better else theirs / ours


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def table(figures: Figures) -> str:
    """Lines of text."""
    rows: list[tuple[str, ...]] = [("", "unit", *CANDIDATES, "to direct", "to Envoy")]
    for row in ROWS:
        cells = [f"{figures[name][row.key]:.4g}" if row.key in figures[name] else "-" for name in CANDIDATES]
        better = gain(row, figures, over="envoy")
        verdict = _times(better) if better is None else f"{_times(better)} {'better' if better > 1 else 'worse'}"
        rows.append((row.title, row.unit, *cells, _times(gain(row, figures, over="direct")), verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(figures: Figures) -> str:
    """The same for a page."""
    lines = [f"| | unit | {' | '.join(CANDIDATES)} | to Envoy |", "| --- | --- | --: | --: | --: | --: |"]
    for row in ROWS:
        cells = [f"{figures[name][row.key]:.3g}" if row.key in figures[name] else "-" for name in CANDIDATES]
        better = gain(row, figures, over="envoy")
        lines.append(
            f"| {row.title} | {row.unit} | {' | '.join(cells)} | {'-' if better is None else f'{better:.1f} x'} |"
        )
    return "\n".join(lines)


_WIDTH, _BAR, _STEP, _LEFT, _TOP = 900, 18, 34, 330, 64


def picture(figures: Figures, *, subtitle: str) -> str:
    """An SVG: one bar a row, as long as kube-gateway is times better than Envoy; the line is at 1."""
    gains = [(row, gain(row, figures, over="envoy")) for row in ROWS]
    most = max([1.0, *(value for _, value in gains if value)])
    scale = (_WIDTH - _LEFT - 90) / most
    height = _TOP + _STEP * len(gains) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="20" y="28" font-size="18" font-weight="bold" fill="#1f2937">'
        "kube-gateway compared with Envoy: how many times better</text>",
        f'<text x="20" y="48" font-size="12" fill="#6b7280">{escape(subtitle)}</text>',
    ]
    for number, (row, value) in enumerate(gains):
        y = _TOP + _STEP * number
        parts.append(
            f'<text x="{_LEFT - 12}" y="{y + 14}" font-size="13" text-anchor="end" fill="#1f2937">'
            f"{escape(row.title)}</text>"
        )
        if value:
            colour = "#2563eb" if value > 1 else "#dc2626"
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{value * scale:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>'
            )
            parts.append(
                f'<text x="{_LEFT + value * scale + 8:.1f}" y="{y + 14}" font-size="13" fill="#1f2937">'
                f"{value:.2f} x</text>"
            )
    one = _LEFT + scale
    parts.append(
        f'<line x1="{one:.1f}" y1="{_TOP - 6}" x2="{one:.1f}" y2="{height - 26}" stroke="#6b7280" '
        'stroke-dasharray="4 3"/>'
    )
    parts.append(
        f'<text x="{one:.1f}" y="{height - 10}" font-size="12" text-anchor="middle" fill="#6b7280">'
        "as good as Envoy</text></svg>"
    )
    return "\n".join(parts)
