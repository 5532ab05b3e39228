"""A picture of the patches of a run: true colour through time, cloud mask, label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_gfmap.errors import InputError
from openeo_gfmap.report.patches import LabelRaster, open_patch

# matplotlib is imported where it is used: it is heavy.
if TYPE_CHECKING:
    import numpy as np
    import pystac
    from matplotlib.axes import Axes

__all__ = ["contact_sheet", "label_colour", "label_picture", "show_image"]

_DATES = 4
_ROWS = 8


@dataclass(frozen=True)
class _Row:
    """One patch."""

    name: str
    days: Sequence[str]
    colours: Sequence[np.ndarray[Any, Any]]
    cloud: np.ndarray[Any, Any] | None
    cloud_day: str
    label: LabelRaster | None
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
    return _draw([_read(item) for item in chosen], heading, path)


def _read(item: pystac.Item) -> _Row:
    with open_patch(item) as patch:
        picked = patch.clearest(_DATES)
        return _Row(
            name=patch.name,
            days=[patch.day(index) for index in picked],
            colours=[patch.colour(index) for index in picked],
            cloud=patch.masked(patch.half_cloudy),
            cloud_day=patch.day(patch.half_cloudy),
            label=patch.label,
            meanings=patch.label.meanings if patch.label is not None else {},
        )


def _draw(patches: Sequence[_Row], heading: str, path: Path) -> Path:
    import numpy as np  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Patch as Swatch  # noqa: PLC0415

    codes = sorted({int(v) for p in patches if p.label for v in np.unique(p.label.codes)})
    meanings = {int(code): text for p in patches for code, text in p.meanings.items()}
    columns = max(len(p.days) for p in patches) + 2
    figure = Figure(figsize=(1.75 * columns + 0.4, 2.05 * len(patches) + 1.2), dpi=110)
    FigureCanvasAgg(figure)
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.3 / height, heading, fontsize=12, va="center")
    grid = figure.subplots(len(patches), columns, squeeze=False)
    for row, patch in zip(grid, patches, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, colour, day in zip(row, patch.colours, patch.days, strict=False):
            show_image(axis, colour, day)
        row[0].text(0, 1.16, patch.name, transform=row[0].transAxes, fontsize=8, weight="bold")
        if patch.cloud is not None:
            show_image(row[-2], patch.cloud, f"cloud mask, {patch.cloud_day}")
        if patch.label is not None:
            show_image(row[-1], label_picture(patch.label.codes, codes), "label")
    swatches = [
        Swatch(color=label_colour(code, codes), label=meanings.get(code, str(code)))
        for code in codes
        if code
    ]
    if swatches:
        figure.legend(handles=swatches, loc="lower left", ncols=10, fontsize=8, frameon=False)
    figure.subplots_adjust(
        left=0.02, right=0.985, wspace=0.06, hspace=0.3,
        top=1 - 0.95 / height, bottom=0.42 / height,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def show_image(axis: Axes, image: np.ndarray[Any, Any], title: str) -> None:
    """Show a picture, pixel by pixel, with a small title above."""
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=7, pad=2, color="0.35")


def label_colour(code: int, codes: Sequence[int]) -> tuple[float, float, float]:
    """Return the colour of a label among all that occur; 0 is light grey."""
    from matplotlib import colormaps  # noqa: PLC0415

    if code == 0:
        return (0.93, 0.93, 0.93)
    labels = [c for c in codes if c]
    red, green, blue, _ = colormaps["tab20"](labels.index(code) % 20)
    return red, green, blue


def label_picture(label: np.ndarray[Any, Any], codes: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return labels (y, x) in their colours, dims (y, x, RGB)."""
    import numpy as np  # noqa: PLC0415

    rgb = np.zeros((*label.shape, 3))
    for code in codes:
        rgb[label == code] = label_colour(code, codes)
    return rgb
