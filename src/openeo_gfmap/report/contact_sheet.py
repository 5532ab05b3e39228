"""A picture of the patches of a run: true colour through time, cloud mask, label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openeo_gfmap.errors import InputError
from openeo_gfmap.files import whole
from openeo_gfmap.report.drawing import label_picture, label_swatches, scale_bar
from openeo_gfmap.report.patch_sources import STATE
from openeo_gfmap.report.patches import LabelRaster, open_patch

# matplotlib is imported where it is used: it is heavy.
if TYPE_CHECKING:
    import pystac
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SheetRow", "contact_sheet", "draw_sheet", "read_row"]

_DATES: Final = 4
_ROWS: Final = 8
_LEGEND_COLUMNS: Final = 6
_BESIDE: Final = 0.06  # of a picture's width, between two
_BELOW: Final = 0.3  # of a picture's height, for the texts of the next row


@dataclass(frozen=True)
class SheetRow:
    """One patch, or why there is none to see.

    Attributes
    ----------
    name, note
        What stands above it.
    days, colours
        Dates in words, and their pictures, dims (y, x, RGB).
    cloud, cloud_day
        A date with its clouds tinted.
    label
        None where there is none.
    pixel_metres
        Width of a pixel, if known.
    """

    name: str
    note: str = ""
    days: Sequence[str] = ()
    colours: Sequence[np.ndarray[Any, Any]] = ()
    cloud: np.ndarray[Any, Any] | None = None
    cloud_day: str = ""
    label: LabelRaster | None = None
    pixel_metres: float | None = None
    meanings: Mapping[int, str] = field(default_factory=dict)


def contact_sheet(
    items: Iterable[pystac.Item], path: Path, *, rows: int = _ROWS, title: str | None = None
) -> Path:
    """Draw the patches of STAC items on one PNG.

    Each row is a sample: four clear dates through the season in true colour (B04, B03, B02, the
    same stretch everywhere so that dates compare), or in grey where the bands for it are not there;
    where clouds are known, the mask of a half-masked date over its colours; and the label raster of
    the item's ``auxiliary`` asset where there is one, named by its CF ``flag_meanings``.

    Parameters
    ----------
    items
        Items whose first asset is a NetCDF file with bands of dims (t, y, x).
    path
        The PNG file to write.
    rows
        Largest number of samples to draw; more samples are thinned evenly.
    title
        Instead of one that says how many there are.

    Raises
    ------
    InputError
        There is no item, ``rows`` is below 1, or a patch has no band.
    """
    if rows < 1:
        raise InputError(f"rows={rows} leaves nothing to draw; expected at least 1.")
    chosen = list(items)
    if not chosen:
        raise InputError("There is no item to draw; expected at least one. Has the run finished?")
    total = len(chosen)
    if total > rows:
        chosen = [chosen[i * total // rows] for i in range(rows)]
    shown = f"{len(chosen)} of {total} patches" if total > len(chosen) else f"{total} patches"
    heading = title or f"{shown}: true colour through time, cloud mask, label"
    return draw_sheet([read_row(item) for item in chosen], heading, path)


def read_row(item: pystac.Item) -> SheetRow:
    """Return what a sheet shows of an item.

    Raises
    ------
    InputError
        When it cannot be drawn.
    """
    with open_patch(item) as patch:
        picked = patch.clearest(_DATES)
        half = patch.partly_cloudy(1)
        notes = (patch.label_name, patch.seen, item.properties.get(STATE))
        return SheetRow(
            name=patch.name,
            note=" · ".join(note for note in notes if note),
            days=[patch.day(index) for index in picked],
            colours=[patch.colour(index) for index in picked],
            cloud=patch.masked(half[0]) if half else None,
            cloud_day=patch.day(half[0]) if half else "",
            label=patch.label,
            pixel_metres=patch.pixel_metres,
            meanings=patch.label.meanings if patch.label is not None else {},
        )


def draw_sheet(rows: Sequence[SheetRow], heading: str, path: Path) -> Path:
    """Draw rows on a PNG under a heading; return its path. It appears whole or not at all."""
    codes = sorted({int(v) for row in rows if row.label for v in np.unique(row.label.codes)})
    meanings = {int(code): text for row in rows for code, text in row.meanings.items()}
    swatches = label_swatches(codes, meanings)
    foot = 0.16 + 0.22 * -(-len(swatches) // _LEGEND_COLUMNS)  # inches
    most = max(len(row.days) for row in rows)
    has_clouds = any(row.cloud is not None for row in rows)
    columns = most + has_clouds + any(row.label is not None for row in rows)
    figure, sheet = _sheet(len(rows), columns, heading, foot)
    for number, row in enumerate(rows):
        sheet.write(number, row.name, row.note)
        for column, (colour, day) in enumerate(zip(row.colours, row.days, strict=False)):
            sheet.show(number, column, colour, day)
            if not number and not column:
                scale_bar(sheet.axis, row.pixel_metres)
        if row.cloud is not None:
            sheet.show(number, most, row.cloud, f"cloud mask, {row.cloud_day}")
        if row.label is not None:
            picture = label_picture(row.label.codes, codes)
            sheet.show(number, most + has_clouds, picture, "label")
    if swatches:
        figure.legend(
            handles=swatches, loc="lower left", bbox_to_anchor=(0.015, 0.0), fontsize=8,
            ncols=_LEGEND_COLUMNS, frameon=False,
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        figure.savefig(part, format="png")
    return path


@dataclass(frozen=True)
class _Sheet:
    """Pictures in rows and columns on one axis, in inches from the upper left corner.

    matplotlib takes longer to make an axis for each of them than to draw them all.

    Attributes
    ----------
    axis
        Covers the figure.
    left, top
        Where the first picture is.
    width, height
        Room for a picture.
    right, down
        From one picture to the next.
    """

    axis: Axes
    left: float
    top: float
    width: float
    height: float
    right: float
    down: float

    def write(self, row: int, name: str, note: str) -> None:
        """Write what stands above a row."""
        place = self.left, self.top + row * self.down
        text = self.axis.annotate(
            name, place, (0, 16), textcoords="offset points", fontsize=9, weight="bold",
        )  # fmt: skip
        self.axis.annotate(
            note, (1, 0), (8, 0), xycoords=text, textcoords="offset points", va="bottom",
            fontsize=8, color="0.35",
        )  # fmt: skip

    def show(self, row: int, column: int, image: np.ndarray[Any, Any], title: str) -> None:
        """Show a picture, pixel by pixel and as large as there is room, with a title above."""
        high, wide = image.shape[:2]
        inches = min(self.width / wide, self.height / high)  # of a pixel
        left, top = self.left + column * self.right, self.top + row * self.down
        right, bottom = left + inches * wide, top + inches * high
        self.axis.imshow(
            image, extent=(left, right, bottom, top), interpolation="nearest", aspect="auto"
        )
        self.axis.annotate(
            title, ((left + right) / 2, top), (0, 2), textcoords="offset points", ha="center",
            fontsize=7, color="0.35",
        )  # fmt: skip


def _sheet(rows: int, columns: int, heading: str, foot: float) -> tuple[Figure, _Sheet]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = max(columns, 4)  # room for the texts
    width, height = 1.75 * columns + 0.4, 2.08 * rows + 0.85 + foot
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    figure.text(0.02, 1 - 0.28 / height, heading, fontsize=13, weight="bold", va="center")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_autoscale_on(False)
    wide = 0.965 * width / (columns + _BESIDE * (columns - 1))
    high = (height - 1.0 - foot) / (rows + _BELOW * (rows - 1))
    sizes = {"width": wide, "height": high, "right": (1 + _BESIDE) * wide}
    return figure, _Sheet(axis, 0.02 * width, 0.92, down=(1 + _BELOW) * high, **sizes)
