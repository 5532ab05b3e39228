"""Parts of pictures: images, scale bars, labels in colours that most eyes tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

# matplotlib is imported where it is used: it is heavy.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

__all__ = ["label_colour", "label_picture", "label_swatches", "scale_bar", "show_image"]

#: Paul Tol's "muted" qualitative scheme, safe for colour-blind readers
#: (https://personal.sron.nl/~pault/), in an order in which neighbours differ most.
_COLOURS: Final = (
    "#332288", "#ddcc77", "#117733", "#88ccee", "#cc6677", "#999933", "#882255", "#44aa99",
    "#aa4499",
)  # fmt: skip
_NOTHING: Final = (0.93, 0.93, 0.93)
_LONGEST_BAR: Final = 0.45  # of the width of a picture


def show_image(axis: Axes, image: np.ndarray[Any, Any], title: str) -> None:
    """Show a picture, pixel by pixel, with a small title above."""
    axis.imshow(image, interpolation="nearest")
    # With a place of its own for the title matplotlib need not look for one, which takes as long
    # as all else.
    axis.set_title(title, fontsize=7, pad=2, y=1.0, color="0.35")


def scale_bar(axis: Axes, pixel_metres: float | None) -> None:
    """Draw a bar of a round length on the first picture of an axis; nothing of unknown scale."""
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    if pixel_metres is None:
        return
    _, columns = axis.images[0].get_size()
    most = _LONGEST_BAR * columns * pixel_metres
    power = 10.0 ** np.floor(np.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most)
    west, east, south, north = axis.images[0].get_extent()
    pixel = (east - west) / columns
    left, bottom = west + 0.05 * (east - west), south + 0.055 * (north - south)
    outline = [withStroke(linewidth=3, foreground="black", alpha=0.6)]
    right = left + length / pixel_metres * pixel
    axis.plot(
        [left, right], [bottom, bottom], color="white", linewidth=1.6, solid_capstyle="butt",
        path_effects=outline,
    )  # fmt: skip
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    above = bottom + 0.03 * (north - south)
    axis.text(left, above, text, color="white", fontsize=7, path_effects=outline)


def label_colour(code: int, codes: Sequence[int]) -> tuple[float, float, float]:
    """Return the colour of a label among all that occur; 0 is light grey.

    There are nine colours, and their lighter tones; then they begin anew.
    """
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    if code == 0:
        return _NOTHING
    turn, place = divmod([c for c in codes if c].index(code), len(_COLOURS))
    red, green, blue = (
        0.45 * (turn % 2) + (1 - 0.45 * (turn % 2)) * c for c in to_rgb(_COLOURS[place])
    )
    return red, green, blue


def label_picture(label: np.ndarray[Any, Any], codes: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return labels (y, x) in their colours, dims (y, x, RGB)."""
    rgb = np.zeros((*label.shape, 3))
    for code in codes:
        rgb[label == code] = label_colour(code, codes)
    return rgb


def label_swatches(codes: Sequence[int], meanings: Mapping[int, str]) -> list[Patch]:
    """Return what a legend shows of labels."""
    from matplotlib.patches import Patch  # noqa: PLC0415

    return [
        Patch(color=label_colour(code, codes), label=meanings.get(code, str(code)))
        for code in codes
        if code
    ]
