"""What a drawing looks like, by daylight and at night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: The class of every drawing, so that its style does not reach beyond it when it stands within a page.
ROOT: Final = "holdfast-graph"

_SANS: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif'
_MONO: Final = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'

#: What is the same day and night.
_SHAPES: Final[Mapping[str, str]] = {
    "": f"font-family: {_SANS}; font-size: 12px",
    ".head": "font-size: 15px; font-weight: 600",
    ".title": "font-size: 14px; font-weight: 600; text-anchor: middle",
    ".note, .label": "text-anchor: middle",
    ".beside": "text-anchor: start",
    ".code": f"font-family: {_MONO}",
    ".shape": "stroke-width: 1.4",
    ".way": "fill: none; stroke-width: 1.5; stroke-linejoin: round",
    ".back .way": "stroke-dasharray: 6 4",
    ".taken .way": "stroke-width: 2.4",
    ".untaken": "opacity: 0.55",
    ".skipped > .shape": "stroke-dasharray: 4 3",
    ".sign": "fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round",
}

#: By property, what it is by day and at night.
_COLOURS: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    ".paper, .halo": (("fill", "#ffffff", "#0d1117"),),
    ".head, .title, .label": (("fill", "#1f2328", "#e6edf3"),),
    ".note": (("fill", "#59636e", "#9da5ae"),),
    ".way": (("stroke", "#6e7781", "#8b949e"),),
    ".tip": (("fill", "#6e7781", "#8b949e"),),
    ".taken .way": (("stroke", "#1f2328", "#e6edf3"),),
    ".taken .tip": (("fill", "#1f2328", "#e6edf3"),),
    ".shape": (("fill", "#f6f8fa", "#161b22"), ("stroke", "#8c959f", "#6e7681")),
    ".map > .shape": (("fill", "#eef4ff", "#111d33"), ("stroke", "#5b8def", "#4184e4")),
    ".map > .panel": (("fill", "#ffffff", "#0d1117"), ("stroke", "#c6d7f7", "#21395f")),
    ".wait > .shape": (("fill", "#fff8e6", "#251e0e"), ("stroke", "#bf8700", "#bb8009")),
    ".start > .shape, .meet > .shape, .core": (("fill", "#59636e", "#9da5ae"), ("stroke", "#59636e", "#9da5ae")),
    ".end > .ring, .choice > .shape": (("fill", "#ffffff", "#0d1117"), ("stroke", "#59636e", "#9da5ae")),
    ".completed > .shape": (("fill", "#eefbf1", "#0f2418"), ("stroke", "#1a7f37", "#3fb950")),
    ".failed > .shape": (("fill", "#fff1f0", "#2d1214"), ("stroke", "#cf222e", "#f85149")),
    ".cancelled > .shape": (("fill", "#fff8e6", "#251e0e"), ("stroke", "#9a6700", "#d29922")),
    ".running > .shape, .ready > .shape": (("fill", "#eaf4ff", "#0f2440"), ("stroke", "#0969da", "#58a6ff")),
    ".waiting > .shape, .suspended > .shape": (("fill", "#f7f0ff", "#211635"), ("stroke", "#8250df", "#bc8cff")),
    ".skipped > .shape, .pending > .shape": (("fill", "#ffffff", "#0d1117"), ("stroke", "#8c959f", "#6e7681")),
    ".completed > g > .sign": (("stroke", "#1a7f37", "#3fb950"),),
    ".failed > g > .sign": (("stroke", "#cf222e", "#f85149"),),
    ".cancelled > g > .sign": (("stroke", "#9a6700", "#d29922"),),
    ".running > g > .sign, .ready > g > .sign": (("stroke", "#0969da", "#58a6ff"),),
    ".waiting > g > .sign, .suspended > g > .sign": (("stroke", "#8250df", "#bc8cff"),),
    ".skipped > g > .sign, .pending > g > .sign": (("stroke", "#59636e", "#9da5ae"),),
}


def style() -> str:
    """Return the style sheet of a drawing."""
    shapes = [f"{_selector(selector)} {{ {rules} }}" for selector, rules in _SHAPES.items()]
    day = [_rule(selector, [(name, light) for name, light, _ in some]) for selector, some in _COLOURS.items()]
    night = [_rule(selector, [(name, dark) for name, _, dark in some]) for selector, some in _COLOURS.items()]
    return "\n".join([*shapes, *day, "@media (prefers-color-scheme: dark) {", *night, "}"])


def _rule(selector: str, rules: list[tuple[str, str]]) -> str:
    return f"{_selector(selector)} {{ {'; '.join(f'{name}: {value}' for name, value in rules)} }}"


def _selector(selector: str) -> str:
    return ", ".join(f".{ROOT} {one}".rstrip() for one in selector.split(", "))
