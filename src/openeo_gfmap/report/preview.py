"""Pictures of the patches in a folder: contact sheets, and pages of single samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from openeo_gfmap.account import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.names import safe_name
from openeo_gfmap.report.contact_sheet import contact_sheet
from openeo_gfmap.report.sample_page import draw_sample
from openeo_gfmap.stac.reading import read_items, with_absolute_assets

if TYPE_CHECKING:
    import pystac

__all__ = ["contact_sheets", "sample_page"]

_ROWS: Final = 8  # samples on a sheet


def contact_sheets(
    source: RunFolder | str | Path,
    target: str | Path,
    *,
    pages: int = 3,
    choose: Literal["even", "random"] = "even",
    by: str | None = None,
    seed: int = 0,
) -> list[Path]:
    """Draw samples on sheets of eight; return the paths of the PNGs.

    Only the patches that are drawn are opened.

    Parameters
    ----------
    source : RunFolder or path
        A run, its output folder, or a STAC collection on disk.
    target : path
        Folder for ``contact_sheet_1.png`` and so on.
    pages : int
        Most sheets.
    choose : "even" or "random"
        Which samples, where there are more: evenly from all, or at random.
    by : str, optional
        Property of the items, such as "croptype_name": each of its values is drawn as often as the
        others, as far as there are samples.
    seed : int
        Of the random choice: the same gives the same.

    Raises
    ------
    InputError
        When there is nothing to draw, or no item has the property.
    """
    if pages < 1:
        raise InputError(f"pages={pages} leaves nothing to draw; expected 1 or more.")
    # Of all items only what the choice needs is kept.
    known = [(place, _property(item, by)) for place, item in _items(source)]
    if not known:
        raise InputError(f"{_named(source)} holds no item to draw. Has the run finished?")
    order = list(range(len(known)))
    if choose == "random":
        Random(seed).shuffle(order)  # noqa: S311 - no secret
    if by is not None:
        order = _in_turn(order, [value for _, value in known], by)
    wanted = min(len(order), pages * _ROWS)
    if choose == "even" and by is None:
        order = [order[i * len(order) // wanted] for i in range(wanted)]
    chosen = set(order[:wanted])
    items = {place: item for place, item in _items(source) if place in chosen}
    sheets = [order[i : i + _ROWS] for i in range(0, wanted, _ROWS)]
    paths = []
    for number, places in enumerate(sheets, start=1):
        title = f"{wanted} of {len(known)} patches, sheet {number} of {len(sheets)}"
        path = Path(target) / f"contact_sheet_{number}.png"
        drawn = [_as_pystac(items[place]) for place in places]
        paths.append(contact_sheet(drawn, path, rows=_ROWS, title=title))
    return paths


def sample_page(source: RunFolder | str | Path, sample: str, target: str | Path) -> Path:
    """Draw a page of one sample; return the path of the PNG.

    Parameters
    ----------
    source : RunFolder or path
        A run, its output folder, or a STAC collection on disk.
    sample : str
        Its ``sample_id``, or the id of its item.
    target : path
        Folder for ``sample_<id>.png``.

    Raises
    ------
    InputError
        When there is no such sample, with those whose names are like it.
    """
    import difflib  # noqa: PLC0415

    names = set()
    for _, item in _items(source):
        ids = {str(item["properties"].get("sample_id")), str(item["id"])}
        if sample in ids:
            path = Path(target) / f"sample_{safe_name(sample)}.png"
            return draw_sample(_as_pystac(item), path)
        names |= ids
    near = difflib.get_close_matches(sample, sorted(names), 3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise InputError(f"{_named(source)} has no sample {sample!r} with a patch.{hint}")


def _named(source: RunFolder | str | Path) -> Path:
    return source.output_dir if isinstance(source, RunFolder) else Path(source)


def _items(source: RunFolder | str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the items of a source with their places; their assets are absolute."""
    if isinstance(source, RunFolder):
        yield from enumerate(_of_run(source))
        return
    try:
        run = RunFolder(source)
    except InputError:  # no run, but perhaps a collection
        yield from enumerate(with_absolute_assets(*found) for found in read_items(source))
        return
    with run:
        yield from enumerate(_of_run(run))


def _of_run(run: RunFolder) -> Iterator[dict[str, Any]]:
    beside = run.output_dir / "item.json"  # addresses are relative to the folder
    for _, item in run.items():
        yield with_absolute_assets(beside, item)


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
