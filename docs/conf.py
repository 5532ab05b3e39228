"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import re
from importlib import metadata

from sphinx.application import Sphinx

project = "openeo-gfmap"
author = "The openeo-gfmap developers"
project_copyright = author
release = metadata.version("openeo-gfmap")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    # The drawing of a job's life is mermaid's: the code host draws it, too.
    "sphinxcontrib.mermaid",
]
root_doc = "index"
exclude_patterns = ["_build"]
suppress_warnings = ["myst.strikethrough"]

html_theme = "furo"
html_title = f"openeo-gfmap {release}"
html_static_path: list[str] = []

# Headings get the anchors that the pages' links use on the code host, too.
myst_heading_anchors = 4
myst_links_external_new_tab = False

# Docstrings are numpydoc's; `name` in them is a name of code.
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say them in words, with dims and units
autodoc_default_options = {"members": True, "show-inheritance": False}

myst_fence_as_directive = ["mermaid"]

_CODE = "https://github.com/Open-EO/openeo-gfmap/blob/main"
_LEAVES = re.compile(r"\]\(((?:\.\./)+)(?!\.)([^)]+)\)")


def _link_to_code(_: object, page: str, source: list[str]) -> None:
    """Let links to files outside these pages lead to the code host, where they are relative."""
    depth = page.count("/") + 1

    def replace(link: re.Match[str]) -> str:
        leaves = link[1].count("../") >= depth
        return f"]({_CODE}/{link[2]})" if leaves else link[0]

    source[0] = _LEAVES.sub(replace, source[0])


def setup(app: Sphinx) -> None:
    """Register the hook above."""
    app.connect("source-read", _link_to_code)
