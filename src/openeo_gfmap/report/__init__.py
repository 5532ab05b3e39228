"""Looking at what a run made."""

from __future__ import annotations

from .contact_sheet import contact_sheet

__all__ = ["contact_sheet"]
