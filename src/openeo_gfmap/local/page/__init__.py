"""The page at ``/``: jobs, their progress, logs and results, and the collections, in a browser."""

from __future__ import annotations

from .routes import routes

__all__ = ["routes"]
