"""Sphinx configuration."""

import refconv

project = "refconv"
author = "refconv developers"
release = refconv.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"
html_theme = "pydata_sphinx_theme"
exclude_patterns = ["_build"]
numpydoc_show_class_members = False
