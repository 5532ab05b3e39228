"""One sample on one page: colours through time, clouds, NDVI, label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_gfmap.files import whole
from openeo_gfmap.report.drawing import label_picture, label_swatches, scale_bar, show_image
from openeo_gfmap.report.patch_sources import STATE
from openeo_gfmap.report.patches import OpenPatch, open_patch
from openeo_gfmap.utils.pictures import FALSE_COLOUR

# matplotlib is imported where it is used: it is heavy.
if TYPE_CHECKING:
    import pystac
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_sample"]

_COLUMNS = 8
_NDVI, _CLOUDY, _HIDDEN = "#117733", "0.6", "#882255"


def draw_sample(item: pystac.Item, path: Path) -> Path:
    """Draw one item on a PNG.

    The clearest date of each part of the series in true and false colour, the dates on which the
    cloud mask shows most; below them NDVI and the share that is hidden through time, and the label.

    NDVI is that of the labelled field at the centre, where there is one, else of all pixels; its
    median, with the span from the 10th to the 90th percentile. Dates are clear on which half of the
    pixels or more can be seen. Rows whose bands the patch has not are left out.

    Parameters
    ----------
    item
        Its first asset is a NetCDF file with bands of dims (t, y, x).
    path
        The PNG file to write.

    Raises
    ------
    InputError
        When there is nothing to draw.
    """
    with open_patch(item) as patch:
        figure = _page(patch, item)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        figure.savefig(part, format="png")
    return path


def _page(patch: OpenPatch, item: pystac.Item) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    picked = patch.clearest(_COLUMNS)
    rows = {"true colour" if patch.has_true_colour else patch.shown_in_grey: picked}
    if patch.has_false_colour:
        rows["false colour"] = picked
    if patch.cloud_mask is not None:
        rows["cloud mask"] = patch.partly_cloudy(_COLUMNS)
    height = 1.72 * len(rows) + 4.1
    figure = Figure(figsize=(13.2, height), dpi=100)
    FigureCanvasAgg(figure)
    figure.text(0.03, 1 - 0.32 / height, patch.name, fontsize=15, weight="bold", va="center")
    figure.text(0.03, 1 - 0.62 / height, _subtitle(patch, item), fontsize=9, color="0.35")
    grid = figure.add_gridspec(
        len(rows), _COLUMNS, left=0.03, right=0.985, wspace=0.06, hspace=0.2,
        top=1 - 1.0 / height, bottom=3.05 / height,
    )  # fmt: skip
    for number, (name, dates) in enumerate(rows.items()):
        for column, index in enumerate(dates):
            axis = figure.add_subplot(grid[number, column])
            axis.set_axis_off()
            axis.set_anchor("N")
            show_image(axis, _picture(patch, name, index), _above(patch, name, index))
            if not column:
                if not number:
                    scale_bar(axis, patch.pixel_metres)
                axis.text(
                    -0.06, 0.5, name, rotation=90, transform=axis.transAxes, fontsize=8,
                    va="center", ha="right", color="0.35",
                )  # fmt: skip
    below = figure.add_gridspec(
        1, 2, left=0.05, right=0.985, bottom=0.75 / height, top=2.72 / height,
        width_ratios=[5.4, 1.3], wspace=0.04,
    )  # fmt: skip
    _series(figure.add_subplot(below[0]), patch, picked)
    _label(figure.add_subplot(below[1]), patch)
    return figure


def _subtitle(patch: OpenPatch, item: pystac.Item) -> str:
    days = patch.day(0) if len(patch.dates) == 1 else f"{patch.day(0)} to {patch.day(-1)}"
    code = item.properties.get("proj:code")
    parts = [patch.label_name, days, patch.seen, code, item.properties.get(STATE)]
    return " · ".join(str(part) for part in parts if part)


def _above(patch: OpenPatch, name: str, index: int) -> str:
    """Return the title of a picture: pictures of one column may be of different dates."""
    if name == "false colour":
        return ""
    share = f", {patch.cloud_share[index]:.0%}" if name == "cloud mask" else ""
    return f"{patch.day(index)}{share}"


def _picture(patch: OpenPatch, name: str, index: int) -> np.ndarray[Any, Any]:
    if name == "false colour":
        return patch.colour(index, FALSE_COLOUR)
    masked = patch.masked(index) if name == "cloud mask" else None
    return patch.colour(index) if masked is None else masked


def _series(axis: Axes, patch: OpenPatch, picked: Sequence[int]) -> None:
    """Draw NDVI and the share of clouds through time."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    dates, clear = patch.dates, patch.clear_dates
    for index in picked:
        axis.axvline(dates[index], color="0.93", linewidth=5, zorder=0)
    axis.set_ylim(-0.02, 1.02)
    ndvi = patch.ndvi()
    if ndvi is not None:
        low, middle, high = ndvi
        good = clear & ~np.isnan(middle)
        axis.fill_between(dates[good], low[good], high[good], color=_NDVI, alpha=0.15, linewidth=0)
        axis.plot(dates[good], middle[good], color=_NDVI, linewidth=1.4)
        where = "of the field" if patch.label_name else "of all pixels"
        axis.plot(
            dates[good], middle[good], "o", color=_NDVI, markersize=4,
            label=f"NDVI {where}: median, 10th to 90th percentile",
        )  # fmt: skip
        other = ~clear & ~np.isnan(middle)
        if other.any():
            axis.plot(
                dates[other], middle[other], "o", markersize=4, markerfacecolor="none",
                color=_CLOUDY, label="on a cloudy date",
            )  # fmt: skip
    axis.vlines(
        dates, 0, np.nan_to_num(patch.hidden_share, nan=1), color=_HIDDEN, alpha=0.4, linewidth=1.4,
        label="share that is hidden",
    )  # fmt: skip
    locator = AutoDateLocator(  # type: ignore[no-untyped-call]
        minticks=3, maxticks=12
    )
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axis.xaxis.get_offset_text().set_fontsize(8)
    axis.tick_params(labelsize=8, color="0.7")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=8, frameon=False, ncols=3)


def _label(axis: Axes, patch: OpenPatch) -> None:
    axis.set_axis_off()
    if patch.label is None:
        axis.text(0.5, 0.5, "no label", ha="center", va="center", color="0.5", fontsize=9)
        return
    codes = sorted(map(int, np.unique(patch.label.codes)))
    show_image(axis, label_picture(patch.label.codes, codes), "label")
    if swatches := label_swatches(codes, patch.label.meanings):
        axis.legend(
            handles=swatches[:8], loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize=7,
            frameon=False, ncols=2,
        )  # fmt: skip
