"""The site: ``python -m sphinx -W docs build/site``. Generated pages (_generate) are not committed."""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

import _generate  # noqa: E402
from _generate import docstrings, gallery, methods, pictures, reference  # noqa: E402

from quatrefoil import FAMILIES  # noqa: E402

_generate.write()
pictures.write()
reference.import_layers()

project = "Quatrefoil"
author = "The Quatrefoil developers"
copyright = author
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_generate", "programs", "pictures", "gallery/**/*.ipynb", "gallery/**/*.py"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
highlight_language = "none"
smartquotes = False  # keep the prime in formulas such as f'

autosummary_generate = False  # pages come from _generate
autodoc_typehints = "none"  # docstrings have shapes and types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_use_plots = False

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": gallery.pattern(),
    "reset_argv": "_generate.gallery.arguments",
    "image_scrapers": ["_generate.gallery.picture"],
    "reset_modules": [],
    "within_subsection_order": "FileNameSortKey",
    "subsection_order": [f"../examples/{family}" for family in FAMILIES],
    "download_all_examples": False,
    "show_memory": False,
    "capture_repr": (),
    "min_reported_time": 0,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "Quatrefoil"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_sidebars = {name: [] for name in ("index", "install", "reliability", "switching", "models", "gpu", "contributing", "changelog")}
toc_object_entries_show_parents = "hide"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def included(app, docname, source):
    """Insert the repository's files and included sections into the pages, with adapted links."""
    if docname in ("index", "contributing", "changelog"):
        file = ROOT / ("README.md" if docname == "index" else f"{docname.upper()}.md")
        source[0] = methods.relinked(file.read_text(), file, docname) + (source[0] if docname == "index" else "")
    else:
        source[0] = methods.expanded(source[0], docname)


def setup(app):
    app.connect("autodoc-process-docstring", docstrings.process, priority=100)
    app.connect("source-read", gallery.note)
    app.connect("source-read", included)
