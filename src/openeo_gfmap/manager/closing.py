"""What is written once the jobs of a run are through: the account, and the STAC collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pystac

from openeo_gfmap.manager import _log, samples_table
from openeo_gfmap.manager.catalog import Existing
from openeo_gfmap.manager.job_store import JobStore
from openeo_gfmap.stac.tree import write_collection

__all__ = ["Closing"]


@dataclass
class Closing:
    """Closes runs; what the collection is to say can be set until then.

    Attributes
    ----------
    output_dir
        Output folder.
    identifier, description
        Of the collection; the id is by default the name of the output folder.
    existing
        A collection whose items are carried over.
    with_stac
        Whether the end of a run writes the collection.
    constellation
        Its platforms and instruments are among the summaries.
    folder
        Where the collection goes; by default ``stac`` in the output folder.
    item_assets
        Definitions of assets that the post-job action adds, by key.
    """

    output_dir: Path
    identifier: str | None = None
    description: str = ""
    existing: str | Path | pystac.Collection | None = None
    with_stac: bool = True
    constellation: str | None = None
    folder: Path | None = None
    item_assets: Mapping[str, pystac.ItemAssetDefinition] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the collection is called."""
        return self.identifier or self.output_dir.name

    def close(self, store: JobStore) -> None:
        """Write the account and the collection, and say how many samples came."""
        path = self.output_dir / samples_table.NAME
        samples_table.write_samples(path, store)
        if self.with_stac:
            self.write_stac(store)
        samples_table.tell(path, store)

    def write_stac(self, store: JobStore, folder: Path | None = None) -> Path:
        """Write the collection, in a folder of its own if need be; return its JSON file."""
        # One item at a time: those of a large run do not fit in memory.
        items, count = store.items(), store.count_items()
        identifier, description = self.identifier, self.description
        if self.existing is not None:
            existing = Existing(self.existing, self.output_dir)
            identifier = identifier or existing.identifier
            description = description or existing.description
            others = existing.beside(item for _, item in store.items())
            count += sum(1 for _ in others)
            items = chain(items, ((-1, item) for item in others))
        path = write_collection(
            folder or self.folder or self.output_dir / "stac",
            items,
            count=count,
            output_dir=self.output_dir,
            identifier=identifier or self.name,
            description=description,
            constellation=self.constellation,
            item_assets=self.item_assets,
        )
        _log.info("The STAC collection of %d items is %s.", count, path)
        return path
