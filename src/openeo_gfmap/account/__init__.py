"""What became of a run: its samples, files and costs, read from the folder that it made.

::

    from openeo_gfmap.account import RunFolder

    with RunFolder("patches") as run:
        print(run.sums())
"""

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.manager.ledger import Sample, SampleState, Sums

__all__ = ["RunFolder", "Sample", "SampleState", "Sums"]
