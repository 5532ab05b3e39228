"""A simulated Sentinel-2 L2A archive: every newcomer has data at once, anywhere, offline.

>>> from openeo_gfmap.local.archive import SimulatedArchive

- ``orbits``: when the satellites pass, where the swath ends, where the sun stands
- ``grid``: the cells pixels are made for
- ``noise``: hashed noise, the only source of chance
- ``landscape``, ``phenology``, ``clouds``: what is on the ground, how it changes, what hides it
- ``scene``: the three put together as the digital numbers of a product
- ``cog``, ``items``: files and STAC documents
- ``simulated``: the search that makes what is missing
"""

from .simulated import SimulatedArchive

__all__ = ["SimulatedArchive"]
