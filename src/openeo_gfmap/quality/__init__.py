"""Quality gates: what a received file must be before it is accepted.

::

    from openeo_gfmap.quality import QualityGates

    gates = QualityGates(shape=(64, 64), max_nodata=0.5, min_clear_dates=10, max_gap_days=60)

Each gate is off until it is given. `inspect` returns what is wrong with a file, one `Finding` for
each gate that it does not pass.
"""

from openeo_gfmap.quality.finding import Finding
from openeo_gfmap.quality.gates import QualityGates, ValueRange
from openeo_gfmap.quality.inspection import inspect

__all__ = ["Finding", "QualityGates", "ValueRange", "inspect"]
