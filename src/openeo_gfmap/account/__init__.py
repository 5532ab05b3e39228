"""What became of a run: its samples, files and costs, read from the folder that it made.

::

    from openeo_gfmap.account import RunFolder

    with RunFolder("patches") as run:
        print(run.sums())
        print(missing_jobs(table, run))  # rows for what did not come
"""

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.account.missing import missing_jobs
from openeo_gfmap.manager.ledger import Sample, SampleState, Sums

__all__ = ["RunFolder", "Sample", "SampleState", "Sums", "missing_jobs"]
