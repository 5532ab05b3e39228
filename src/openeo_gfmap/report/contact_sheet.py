"""A picture of the patches of a run: true colour through time, cloud mask, label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from openeo_gfmap.errors import InputError

# matplotlib and xarray are imported where they are used: both are heavy.
if TYPE_CHECKING:
    import numpy as np
    import pystac
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["contact_sheet"]

RED, GREEN, BLUE = "S2-L2A-B04", "S2-L2A-B03", "S2-L2A-B02"
SCL, DILATED = "S2-L2A-SCL", "S2-L2A-SCL_DILATED_MASK"
# SCL classes that hide the ground: no data, saturated, shadow, clouds, cirrus.
HIDING = (0, 1, 3, 8, 9, 10)
# Surface reflectance x 10,000 that is drawn as white; bright soil stays below it.
WHITE = 3000.0
DATES = 4
MAX_ROWS = 8


@dataclass(frozen=True)
class Patch:
    """One row of the sheet."""

    name: str
    days: Sequence[str]
    colours: Sequence[np.ndarray[Any, Any]]
    cloud: np.ndarray[Any, Any]
    cloud_day: str
    label: np.ndarray[Any, Any] | None
    meanings: Mapping[int, str]


def contact_sheet(items: Iterable[pystac.Item], path: Path, *, rows: int = MAX_ROWS) -> Path:
    """Draw the patches of STAC items on one PNG.

    Each row is a sample: four clear dates through the season in true colour (B04, B03, B02, the
    same stretch everywhere so that dates compare), the cloud mask of a half-masked date over its
    true colour, and the label raster of the item's ``auxiliary`` asset where there is one, named
    by its CF ``flag_meanings`` where it has them.

    Parameters
    ----------
    items
        Items whose first NetCDF asset holds the Sentinel-2 bands.
    path
        The PNG file to write.
    rows
        Largest number of samples to draw; more samples are thinned evenly.

    Raises
    ------
    InputError
        There is no item, ``rows`` is below 1, or a patch lacks the bands of true colour.
    """
    if rows < 1:
        raise InputError(f"rows={rows} leaves nothing to draw; expected at least 1.")
    chosen = list(items)
    if not chosen:
        raise InputError("There is no item to draw; expected at least one. Has the run finished?")
    total = len(chosen)
    if total > rows:
        chosen = [chosen[i * total // rows] for i in range(rows)]
    return _draw([_read(item) for item in chosen], total, path)


def _read(item: pystac.Item) -> Patch:
    import xarray as xr  # noqa: PLC0415

    data_asset = next(a for key, a in item.assets.items() if key != "auxiliary")
    with xr.open_dataset(_local(data_asset)) as patch:
        absent = [band for band in (RED, GREEN, BLUE, SCL) if band not in patch]
        if absent:
            raise InputError(
                f"Item {item.id} has no band {', '.join(absent)}; a contact sheet needs "
                f"{RED}, {GREEN}, {BLUE} and {SCL}. Extract them too."
            )
        hidden = patch[SCL].isin(HIDING) | patch[SCL].isnull()
        share = hidden.mean(("y", "x")).values
        picked = _clear_dates(share)
        masked = patch[DILATED] > 0 if DILATED in patch else hidden
        cloudy = int(abs(masked.mean(("y", "x")).values - 0.5).argmin())
        label, meanings = _label(item)
        days = patch.t.dt.strftime("%d %b %Y").values
        return Patch(
            name=str(patch.attrs.get("sample_id", item.id)),
            days=[str(days[i]) for i in picked],
            colours=[_true_colour(patch.isel(t=i)) for i in picked],
            cloud=_over(_true_colour(patch.isel(t=cloudy)), masked.isel(t=cloudy).values),
            cloud_day=str(days[cloudy]),
            label=label,
            meanings=meanings,
        )


def _clear_dates(share: np.ndarray[Any, Any]) -> list[int]:
    """Return the clearest date of each quarter of the series, in order."""
    import numpy as np  # noqa: PLC0415

    quarters = np.array_split(np.arange(share.size), min(DATES, share.size))
    return [int(quarter[share[quarter].argmin()]) for quarter in quarters]


def _true_colour(frame: xr.Dataset) -> np.ndarray[Any, Any]:
    """Return y, x, RGB in 0..1; missing pixels are light grey."""
    import numpy as np  # noqa: PLC0415

    rgb = np.stack([frame[band].values.astype("float32") for band in (RED, GREEN, BLUE)], axis=-1)
    rgb = np.where(rgb == 65535, np.nan, rgb)
    # A square root lifts dark vegetation without burning out soil.
    scaled = np.sqrt(np.clip(rgb / WHITE, 0, 1))
    return np.where(np.isnan(scaled), 0.88, scaled)


def _over(rgb: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np  # noqa: PLC0415

    tint = np.array([0.86, 0.16, 0.35])
    return np.where(mask[..., None], 0.45 * rgb + 0.55 * tint, rgb)


def _label(item: pystac.Item) -> tuple[np.ndarray[Any, Any] | None, Mapping[int, str]]:
    """Return the label raster and what its codes mean, as far as the file says."""
    import xarray as xr  # noqa: PLC0415

    asset = item.assets.get("auxiliary")
    if asset is None:
        return None, {}
    with xr.open_dataset(_local(asset)) as labels:
        values = labels["LABEL"].attrs.get("flag_values", ())
        words = labels["LABEL"].attrs.get("flag_meanings", "").split()
        meanings = [word.replace("_", " ") for word in words]
        return labels["LABEL"].values, dict(zip(values, meanings, strict=True))


def _local(asset: pystac.Asset) -> Path:
    href = asset.get_absolute_href() or asset.href
    return Path(unquote(urlparse(href).path) if href.startswith("file:") else href)


def _draw(patches: Sequence[Patch], total: int, path: Path) -> Path:
    import numpy as np  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Patch as Swatch  # noqa: PLC0415

    codes = sorted({int(v) for p in patches if p.label is not None for v in np.unique(p.label)})
    meanings = {int(code): text for p in patches for code, text in p.meanings.items()}
    columns = max(len(p.days) for p in patches) + 2
    figure = Figure(figsize=(1.75 * columns + 0.4, 2.05 * len(patches) + 1.2), dpi=110)
    FigureCanvasAgg(figure)
    height = figure.get_figheight()
    shown = f"{len(patches)} of {total} patches" if total > len(patches) else f"{total} patches"
    figure.text(0.02, 1 - 0.3 / height, f"{shown}: true colour through time, cloud mask, label",
                fontsize=12, va="center")  # fmt: skip
    grid = figure.subplots(len(patches), columns, squeeze=False)
    for row, patch in zip(grid, patches, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, colour, day in zip(row, patch.colours, patch.days, strict=False):
            _show(axis, colour, day)
        row[0].text(0, 1.16, patch.name, transform=row[0].transAxes, fontsize=8, weight="bold")
        _show(row[-2], patch.cloud, f"cloud mask, {patch.cloud_day}")
        if patch.label is not None:
            _show(row[-1], _coloured(patch.label, codes), "label")
    swatches = [
        Swatch(color=_colour(code, codes), label=meanings.get(code, str(code)))
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


def _show(axis: Axes, image: np.ndarray[Any, Any], title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=7, pad=2, color="0.35")


def _colour(code: int, codes: Sequence[int]) -> tuple[float, float, float]:
    from matplotlib import colormaps  # noqa: PLC0415

    if code == 0:
        return (0.93, 0.93, 0.93)
    labels = [c for c in codes if c]
    red, green, blue, _ = colormaps["tab20"](labels.index(code) % 20)
    return red, green, blue


def _coloured(label: np.ndarray[Any, Any], codes: Sequence[int]) -> np.ndarray[Any, Any]:
    import numpy as np  # noqa: PLC0415

    rgb = np.zeros((*label.shape, 3))
    for code in codes:
        rgb[label == code] = _colour(code, codes)
    return rgb
