"""Pictures of the patches in a folder: contact sheets, and pages of single samples."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from openeo_gfmap.account import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.files import safe_name
from openeo_gfmap.report.contact_sheet import SheetRow, draw_sheet, read_row
from openeo_gfmap.report.patch_sources import STATE, patches_of
from openeo_gfmap.report.sample_page import draw_sample

if TYPE_CHECKING:
    import pystac

__all__ = ["contact_sheets", "sample_page"]

_ROWS: Final = 8  # samples on a sheet


def contact_sheets(
    source: RunFolder | str | Path,
    target: str | Path,
    *,
    pages: int = 3,
    choose: Literal["even", "random", "first"] = "even",
    by: str | None = None,
    seed: int = 0,
    samples: Sequence[str] | None = None,
) -> list[Path]:
    """Draw samples on sheets of eight; return the paths of the PNGs.

    Only the patches that are drawn are opened. One that cannot be drawn has its row, which says
    why; so have those that the quality gates have rejected.

    Parameters
    ----------
    source : RunFolder or path
        A run, its output folder, a STAC collection on disk, or a folder with NetCDF files.
    target : path
        Folder for ``contact_sheet_1.png`` and so on.
    pages : int
        Most sheets.
    choose : "even", "random" or "first"
        Which samples, where there are more: evenly from all, at random, or the first ones.
    by : str, optional
        Property of the items, such as "croptype_name": each of its values is drawn as often as the
        others, as far as there are samples.
    seed : int
        Of the random choice: the same gives the same.
    samples : sequence of str, optional
        Ids of the samples to draw, instead of a choice.

    Raises
    ------
    InputError
        When there is nothing to draw, no item has the property, or there is no such sample.
    """
    if pages < 1:
        raise InputError(f"pages={pages} leaves nothing to draw; expected 1 or more.")
    if choose not in {"even", "random", "first"}:
        raise InputError(f"choose={choose!r}; expected 'even', 'random' or 'first'.")
    # Of all items only what the choice needs is kept.
    known = [(_ids(item), _property(item, by)) for item in patches_of(source)]
    if not known:
        raise InputError(f"{_named(source)} holds no item to draw. Has the run finished?")
    most = pages * _ROWS
    if samples is not None:
        order = [_place(sample, [ids for ids, _ in known], source) for sample in samples][:most]
    else:
        order = _choice([value for _, value in known], choose, by, seed, most)
    chosen = set(order)
    items = {place: item for place, item in enumerate(patches_of(source)) if place in chosen}
    sheets = [order[i : i + _ROWS] for i in range(0, len(order), _ROWS)]
    paths = []
    for number, places in enumerate(sheets, start=1):
        title = f"{len(order):,} of {len(known):,} patches, sheet {number} of {len(sheets)}"
        path = Path(target) / f"contact_sheet_{number}.png"
        rows = [_row(items[place]) for place in places]
        paths.append(draw_sheet(rows, title, path))
    return paths


def sample_page(source: RunFolder | str | Path, sample: str, target: str | Path) -> Path:
    """Draw a page of one sample; return the path of the PNG.

    Parameters
    ----------
    source : RunFolder or path
        A run, its output folder, a STAC collection on disk, or a folder with NetCDF files.
    sample : str
        Its ``sample_id``, or the id of its item.
    target : path
        Folder for ``sample_<id>.png``.

    Raises
    ------
    InputError
        When there is no such sample, with those whose names are like it; or when it cannot be
        drawn.
    """
    names: list[tuple[str, str]] = []
    for item in patches_of(source):
        names.append(_ids(item))
        if sample in names[-1]:
            path = Path(target) / f"sample_{safe_name(sample)}.png"
            return draw_sample(_as_pystac(item), path)
    raise _no_sample(sample, names, source)


def _choice(values: Sequence[Any], choose: str, by: str | None, seed: int, most: int) -> list[int]:
    """Return the places of the samples to draw."""
    order = list(range(len(values)))
    if choose == "random":
        Random(seed).shuffle(order)  # noqa: S311 - no secret
    if by is not None:
        order = _in_turn(order, values, by)
    wanted = min(len(order), most)
    if choose == "even" and by is None:
        return [order[i * len(order) // wanted] for i in range(wanted)]
    return order[:wanted]


def _place(sample: str, names: Sequence[tuple[str, str]], source: RunFolder | str | Path) -> int:
    place = next((place for place, ids in enumerate(names) if sample in ids), None)
    if place is None:
        raise _no_sample(sample, names, source)
    return place


def _no_sample(
    sample: str, names: Iterable[tuple[str, str]], source: RunFolder | str | Path
) -> InputError:
    near = difflib.get_close_matches(sample, sorted(set(chain.from_iterable(names))), 3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return InputError(f"{_named(source)} has no sample {sample!r} with a patch.{hint}")


def _row(item: dict[str, Any]) -> SheetRow:
    try:
        return read_row(_as_pystac(item))
    except InputError as error:
        # The others are to be seen nevertheless.
        return SheetRow(_ids(item)[0], item["properties"].get(STATE) or str(error))


def _ids(item: dict[str, Any]) -> tuple[str, str]:
    """Return what a sample may be called: its id, and that of its item."""
    return str(item["properties"].get("sample_id", item["id"])), str(item["id"])


def _named(source: RunFolder | str | Path) -> Path:
    return source.output_dir if isinstance(source, RunFolder) else Path(source)


def _as_pystac(item: dict[str, Any]) -> pystac.Item:
    import pystac  # noqa: PLC0415

    return pystac.Item.from_dict(item)


def _property(item: dict[str, Any], name: str | None) -> Any:
    return None if name is None else item["properties"].get(name)


def _in_turn(order: Sequence[int], values: Sequence[Any], name: str) -> list[int]:
    """Return places so that each value comes in turn.

    Raises
    ------
    InputError
        When there are no values.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place in order:
        if values[place] is not None:
            groups[str(values[place])].append(place)
    if not groups:
        raise InputError(f"no item has the property {name!r} to choose samples by.")
    turns = zip_longest(*(groups[key] for key in sorted(groups)))
    return [place for place in chain.from_iterable(turns) if place is not None]
