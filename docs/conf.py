"""Sphinx configuration."""

from pathlib import Path

import jupytext

import refconv

project = "refconv"
author = "refconv developers"
release = refconv.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
myst_enable_extensions = ["dollarmath"]
# A page may be a Python file in cells, or Markdown with cells: they are run each
# time, and an error in one ends the build.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
html_theme = "pydata_sphinx_theme"
exclude_patterns = ["_build", "conf.py", "generated"]
numpydoc_show_class_members = False

# The walk as a notebook, for the site's download link.
_here = Path(__file__).parent
(_here / "generated").mkdir(exist_ok=True)
jupytext.write(
    jupytext.read(_here / "conv2d.py"), _here / "generated" / "conv2d.ipynb"
)
