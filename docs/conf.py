"""How Sphinx makes the site of the Markdown documents.

``sphinx-build -W --keep-going -c docs . build/site``: the documents stay where they are, and the
links between them are those that work in the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import tspsim

TOP = Path(__file__).resolve().parent.parent

project = "tspsim"
author = "the authors of tspsim"
version = release = tspsim.__version__
html_title = f"tspsim {version}"
language = "en"
smartquotes_action = "D"  # dashes alone; quotes stand as they are written

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "public_names",
    "python_names",
    "repository_links",
]

# What is read: the documents, and the pages that they link to beside the data.
root_doc = "docs/index"
_FOLDERS = {"calibration", "docs", "models", "published"}
include_patterns = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "calibration/report/report.md",
    "models/README.md", "published/README.md",
]  # fmt: skip
exclude_patterns = [p.name for p in TOP.iterdir() if p.is_dir() and p.name not in _FOLDERS]

# Links: headings are linked to as on GitHub.
myst_heading_anchors = 4

# Docstrings. Names in single backticks are names of Python; those of tspsim must be right.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!tspsim\.).*")]
suppress_warnings = ["ref.python"]  # two things of one name: python_names finds out which is meant
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

# By hand, where there is a network: sphinx-build -b linkcheck -c docs . build/links
linkcheck_timeout = 20
linkcheck_workers = 4


def setup(app: Sphinx) -> None:
    """Name what no one has coloured yet: GitHub does."""
    app.add_lexer("csv", TextLexer)
