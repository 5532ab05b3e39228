"""A catalogue whose writer is really killed: readers find the old or the new one, never a ruin."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pystac
import pytest

from openeo_gfmap.stac.reading import read_items
from support.catalogue_writer import ITEMS, Writers
from support.stac_schemas import SchemaFolder

WHILE_ITEMS_COME = 6  # kills of each layout, and those while all else is written:
AT_THE_END = 4

Tree = dict[str, bytes]


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    made = Writers()
    yield made
    made.close()


def tree_of(stac: Path) -> Tree:
    return {
        path.relative_to(stac).as_posix(): path.read_bytes()
        for path in stac.rglob("*")
        if path.is_file()
    }


def ids_of(tree: Tree) -> set[str]:
    documents = [json.loads(each) for name, each in tree.items() if name.endswith(".json")]
    return {each["id"] for each in documents if each["type"] == "Feature"}


def check_what_a_reader_sees(stac: Path, old: Tree, new: Tree, *, split: bool) -> None:
    """Check that all links lead to whole documents, and to all items of the old or the new."""
    for name in ("collection.json", "items.parquet"):
        assert (stac / name).read_bytes() in (old[name], new[name]), name
    assert pq.read_table(stac / "items.parquet").num_rows == ITEMS
    found = []
    for path, item in read_items(stac):  # refuses what is missing or broken
        name = path.resolve().relative_to(stac.resolve()).as_posix()
        assert path.read_bytes() in (old.get(name), new.get(name)), name
        found.append(item["id"])
    before, after = ids_of(old), ids_of(new)
    if split:  # what moves to another catalogue is in both for a while
        assert before <= set(found) or after <= set(found)
        assert set(found) <= before | after
    else:
        assert set(found) in (before, after)
        assert len(found) == ITEMS


@pytest.mark.parametrize("split", [False, True], ids=["flat", "split"])
def test_a_killed_write_leaves_a_catalogue_and_the_next_makes_it_whole(
    tmp_path: Path, writers: Writers, shared_data: Path, split: bool
) -> None:
    trees: list[Tree] = []
    for version in (0, 1):
        status, ending = writers.run(tmp_path / str(version), version, split=split)
        assert status == 0
        trees.append(tree_of(tmp_path / str(version) / "stac"))
        collection = pystac.Collection.from_file(tmp_path / str(version) / "stac/collection.json")
        assert {item.id for item in collection.get_items(recursive=True)} == ids_of(trees[version])
    schemas = SchemaFolder(shared_data / "stac_schemas")
    kinds = {json.loads(d)["type"]: d for n, d in trees[1].items() if n.endswith(".json")}
    assert set(kinds) == {"Collection", "Feature", *(["Catalog"] if split else [])}
    for document in kinds.values():
        schemas.check(json.loads(document))

    chance, folder, killed = random.Random(5 + split), tmp_path / "run", 0
    assert writers.run(folder, 0, split=split)[0] == 0
    moments = [
        (int(ITEMS * (n + chance.random()) / WHILE_ITEMS_COME), chance.uniform(0, 0.002))
        for n in range(WHILE_ITEMS_COME)
    ] + [(ITEMS, ending * (n + chance.random()) / AT_THE_END) for n in range(AT_THE_END)]
    for turn, (after, seconds) in enumerate(moments):
        version = 1 - turn % 2
        status, _ = writers.run(folder, version, split=split, after=after, seconds=seconds)
        assert status in (0, -signal.SIGKILL)
        killed += status != 0
        old, new = trees[1 - version], trees[version]
        check_what_a_reader_sees(folder / "stac", old, new, split=split)
        assert writers.run(folder, version, split=split)[0] == 0
        again = tree_of(folder / "stac")
        assert sorted(again) == sorted(new)
        assert again == new
    assert killed >= 5  # the others were quicker than their end
