# %% [markdown]
# # From labelled fields to patches in ten lines
#
# A recipe says what is wanted; the rest follows from it. This runs on the embedded back-end with
# simulated scenes; with `"cdse"` in the third cell it runs on the Copernicus Data Space Ecosystem.
#
# The step-by-step version, with each part written out, is
# [full_extraction_pipeline](full_extraction_pipeline.ipynb).

# %%
import os

import geopandas as gpd
import xarray as xr
from IPython.display import Image

from openeo_gfmap.account import RunFolder
from openeo_gfmap.recipes import AroundDate, Extraction, Labels, Sentinel2Patches
from openeo_gfmap.report import contact_sheets, sample_page

fields = gpd.read_file(os.environ.get("GFMAP_SAMPLES", "data/demo_fields.gpkg"))
folder = os.environ.get("GFMAP_OUTPUT", "patches")

# %% [markdown]
# ## What is wanted

# %%
recipe = Sentinel2Patches(
    period=AroundDate(before=45, after=45),
    bands=("S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04", "S2-L2A-B08", "S2-L2A-SCL"),
    labels=Labels("croptype_label", names="croptype_name"),
)
recipe

# %% [markdown]
# ## What it will take
#
# Nothing is asked of a back-end yet. Bad samples are refused here.

# %%
extraction = Extraction(recipe, fields, "local")
extraction.plan()

# %% [markdown]
# ## The run
#
# It goes on in the background, and the table below the cell keeps itself up to date. `run.stop()`
# ends it gently; the same cell takes it up again.

# %%
run = extraction.start(folder, poll_sleep=0.5)
run

# %%
run.join()

# %% [markdown]
# ## What came
#
# The account names every sample: received, missing or rejected, and why.

# %%
account = RunFolder(folder)
account

# %%
contact_sheets(account, "preview", pages=1)
Image("preview/contact_sheet_1.png", width=900)

# %%
first = next(sample for sample in account.samples() if sample.state == "received")
Image(sample_page(account, first.sample_id, "preview"), width=900)

# %% [markdown]
# ## A patch in your hands

# %%
patch = xr.open_dataset(f"{folder}/{first.path}")
red, near_infrared = patch["S2-L2A-B04"], patch["S2-L2A-B08"]
ndvi = (near_infrared - red) / (near_infrared + red)
ndvi.where(patch["S2-L2A-SCL"].isin([4, 5])).median(["y", "x"]).to_series().dropna().round(2)
