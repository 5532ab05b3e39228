"""Where patches come from: a run, a STAC collection on disk, or a plain folder of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.account import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.ledger import SampleState
from openeo_gfmap.stac.reading import collection_file, read_items, with_absolute_assets

__all__ = ["STATE", "patches_of"]

#: Property that says what is wrong with a sample; the others are as they should be.
STATE: Final = "gfmap:state"

_LABELS: Final = "auxiliary"
_HIDDEN_FOLDERS: Final = frozenset({"quarantine", ".downloads"})


def patches_of(source: RunFolder | str | Path) -> Iterator[dict[str, Any]]:
    """Iterate over the patches of a source as STAC items whose assets have absolute paths.

    Those of a run that the quality gates have rejected come last, with the reason in `STATE`.

    Raises
    ------
    InputError
        When there are none to be found.
    """
    if isinstance(source, RunFolder):
        yield from _of_run(source)
        return
    try:
        run = RunFolder(source)
    except InputError:
        yield from _of_folder(Path(source))
        return
    with run:
        yield from _of_run(run)


def _of_run(run: RunFolder) -> Iterator[dict[str, Any]]:
    beside = run.output_dir / "item.json"  # addresses are relative to the folder
    for _, item in run.items():
        yield with_absolute_assets(beside, item)
    for sample in run.samples():
        if sample.state is SampleState.REJECTED and sample.path:
            yield _bare_item(
                run.output_dir / sample.path,
                sample_id=sample.sample_id,
                **{STATE: f"rejected: {sample.reason}"},
            )


def _of_folder(folder: Path) -> Iterator[dict[str, Any]]:
    try:
        collection = collection_file(folder)
    except InputError:
        files = _netcdf_files(folder)
        if not files:
            raise InputError(
                f"{folder} has nothing to draw: no run, no STAC collection and no NetCDF file."
            ) from None
        yield from files
        return
    for path, item in read_items(collection):
        yield with_absolute_assets(path, item)


def _netcdf_files(folder: Path) -> list[dict[str, Any]]:
    """Return an item for each file with dates; labels are named as their patch, and go on."""
    items: dict[Path, dict[str, Any]] = {}
    paths = (path for path in folder.rglob("*.nc") if not _HIDDEN_FOLDERS & set(path.parts))
    for path in sorted(paths, key=lambda path: (path.parent, len(path.stem), path.stem)):
        patch = next((each for each in _shorter(path) if each in items), None)
        if patch is not None and _is_flat(path):
            items[patch]["assets"][_LABELS] = {"href": str(path.resolve())}
        else:
            items[path] = _bare_item(path)
    return [items[path] for path in sorted(items)]


def _shorter(path: Path) -> Iterator[Path]:
    """Iterate over the names of which a file's name is a longer one, the longest first."""
    stem = path.stem
    while "_" in stem:
        stem = stem.rpartition("_")[0]
        yield path.with_stem(stem)


def _is_flat(path: Path) -> bool:
    """Return whether nothing in a file has dates."""
    import h5py  # noqa: PLC0415

    try:
        with h5py.File(path, "r") as file:
            return all(getattr(member, "ndim", 0) < 3 for member in file.values())
    except OSError:
        return False  # it is said where it is drawn


def _bare_item(path: Path, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": path.stem,
        "geometry": None,
        # Of no meaning here; without one it is no item.
        "properties": {"datetime": "1970-01-01T00:00:00Z", **properties},
        "links": [],
        "assets": {"patch": {"href": str(path.resolve())}},
    }
