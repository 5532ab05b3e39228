"""Ready-made extractions: a description of what is wanted becomes all that a run needs.

::

    from openeo_gfmap.recipes import Extraction, Sentinel2Patches

    extraction = Extraction(Sentinel2Patches(), "fields.gpkg", "cdse")
    print(extraction.plan())
    extraction.run("patches")

A recipe is a frozen, validated value. It becomes four parts (the job table, ``start_job``, the
path generator and the post-job action), each of which can be replaced by a function of your own.

======================= ===========================================================
`Sentinel2Patches`      square patches of a Sentinel-2 L2A time series around samples
======================= ===========================================================
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openeo_gfmap.recipes.cloud_mask import SclDilation
from openeo_gfmap.recipes.extraction import Extraction, Plan
from openeo_gfmap.recipes.labels import Labels
from openeo_gfmap.recipes.parts import Parts, Recipe
from openeo_gfmap.recipes.periods import AroundDate, FixedDates
from openeo_gfmap.recipes.samples import SampleColumns
from openeo_gfmap.recipes.sentinel2 import Sentinel2Patches

#: All recipes by name: what the command line offers. A recipe for another sensor is added here.
RECIPES: Final[Mapping[str, type[Recipe]]] = MappingProxyType(
    {Sentinel2Patches.name: Sentinel2Patches}
)

__all__ = [
    "RECIPES",
    "AroundDate",
    "Extraction",
    "FixedDates",
    "Labels",
    "Parts",
    "Plan",
    "Recipe",
    "SampleColumns",
    "SclDilation",
    "Sentinel2Patches",
]
