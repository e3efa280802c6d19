"""Draw a plot as SVG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from bench._plot import Plot

__all__ = ["COLOURS", "draw"]

COLOURS: Final = {
    "wasmpool": "#0f766e",
    "floor": "#94a3b8",
    "threads": "#d97706",
    "lock": "#b91c1c",
    "extism": "#7c3aed",
    "direct": "#2563eb",
    "no calls": "#94a3b8",
    "wasmpool, alone": "#5eead4",
    "wasmpool, reused": "#5eead4",
}
"""A contender has the same colour everywhere."""
_OTHERS: Final = ("#0f766e", "#d97706", "#2563eb", "#7c3aed", "#b91c1c")
_INK: Final = "#334155"
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#cbd5e1",
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.color": "#e2e8f0",
    "legend.frameon": False,
    "svg.fonttype": "none",  # keep text as text
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_QUANTILES: Final = (0.0, 50.0, 90.0, 99.0, 99.9)


def draw(plot: Plot) -> str:
    """An ``svg`` element."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": plot.title}):
        figure = Figure(figsize=(6.6, 3.7), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(plot.title)
        if plot.bars:
            _draw_bars(axes, plot)
        else:
            _draw_lines(axes, plot)
            _draw_marks(axes, plot)
            axes.set_xlabel(plot.x)
            axes.set_ylabel(plot.y)
            _scale(axes, plot)
        if len(plot.lines) > 1 or plot.marked:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _draw_lines(axes: Any, plot: Plot) -> None:
    for k, (name, line) in enumerate(plot.lines.items()):
        strong = name.startswith("wasmpool")
        axes.plot(
            line.x, line.y,
            label=name,
            color=_colour(name, k),
            linewidth=2.2 if strong else 1.5,
            linestyle="--" if name == "floor" else "-",
            marker="o" if len(line.x) < 12 and plot.x_scale != "quantile" else None,
            markersize=4,
            zorder=3 if strong else 2,
        )  # fmt: skip


def _draw_bars(axes: Any, plot: Plot) -> None:
    """Horizontal bars, with their labels at the left, and their values at the end."""
    height = 0.8 / len(plot.lines)
    for k, (name, line) in enumerate(plot.lines.items()):
        points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y]  # 0: not measured
        at = [x + (k + 0.5) * height - 0.4 for x, _ in points]
        values = [y for _, y in points]
        bars = axes.barh(at, values, height * 0.9, label=name, color=_colour(name, k))
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(range(len(plot.bars)), plot.bars)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(plot.y)
    axes.margins(x=0.12)


def _colour(name: str, number: int) -> str:
    return COLOURS.get(name) or _OTHERS[number % len(_OTHERS)]


def _draw_marks(axes: Any, plot: Plot) -> None:
    for k, mark in enumerate(plot.marks):
        axes.axvline(
            mark, color="#d97706", linewidth=0.8, alpha=0.6, label="" if k else plot.marked
        )
    if plot.limit is not None:
        axes.axhline(plot.limit, color=_INK, linewidth=0.9, linestyle=":", label="bound")


def _scale(axes: Any, plot: Plot) -> None:
    axes.set_yscale(plot.y_scale)
    if plot.x_scale == "quantile":
        axes.set_xscale("function", functions=(_spread, _join))
        axes.set_xticks(_QUANTILES, [f"{q:g}" for q in _QUANTILES])
        axes.set_xlim(0, 99.995)
    else:
        axes.set_xscale(plot.x_scale)
        _label(axes.xaxis, plot.x_scale)
    _label(axes.yaxis, plot.y_scale)
    if plot.y_scale == "linear":
        axes.set_ylim(bottom=0)


def _label(axis: Any, scale: str) -> None:
    """Label with plain numbers; a log axis with few decades also gets numbers between them."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _short(value)))
    if scale == "log":
        low, high = sorted(axis.get_view_interval())
        few = high < low * 200
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
        axis.set_minor_formatter(ticker.NullFormatter())


def _spread(percentile: Any) -> Any:
    """A scale on which 90, 99, 99.9, ... are equally far apart."""
    return -np.log10(np.maximum(100 - np.asarray(percentile, dtype=float), 1e-3) / 100)


def _join(spread: Any) -> Any:
    return 100 - 100 * 10.0 ** -np.asarray(spread, dtype=float)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
