"""The openEO processes, one group per file; importing this package registers them all.

A new file in this folder is found by itself: adding a process touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
