"""Looking at what a run made: pictures of patches, and a page of the whole run."""

from __future__ import annotations

from openeo_gfmap.report.contact_sheet import contact_sheet
from openeo_gfmap.report.page import write_report
from openeo_gfmap.report.preview import contact_sheets, sample_page

__all__ = ["contact_sheet", "contact_sheets", "sample_page", "write_report"]
