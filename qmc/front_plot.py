"""The front as a picture: cost against loss, mixed widths beside uniform ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: PNG and SVG carry no date and no random names, so that equal fronts give equal bytes.
_SALT = "qmc"


def plot_front(
    path: Path,
    title: str,
    labels: tuple[str, str],
    series: Sequence[tuple[str, Sequence[tuple[float, float, str]], bool]],
) -> None:
    """Write ``path`` with the suffixes ``.png`` and ``.svg``.

    Args:
        path: without suffix.
        title: of the picture.
        labels: of the axes: cost, loss.
        series: a name, (cost, loss, text) of its points, and whether a line joins them.
    """
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": _SALT, "figure.dpi": 120}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for name, points, joined in series:
            _draw(axes, name, points, joined)
        axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})


def _draw(axes: Any, name: str, points: Sequence[tuple[float, float, str]], joined: bool) -> None:
    if not points:
        return
    xs, ys, texts = zip(*sorted(points), strict=True)
    axes.plot(xs, ys, "o-" if joined else "s", label=name, markersize=4)
    for x, y, text in zip(xs, ys, texts, strict=True):
        if text:
            axes.annotate(text, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=6)
