"""The command ``gfmap``.

Only what shows the help is imported at the top; each command imports what it needs.
"""

from openeo_gfmap.cli.app import app

__all__ = ["app"]
