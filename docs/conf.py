# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration. The build reads nothing from the network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_ext"))

project = "qiskit-torch-bridge"
author = "The qiskit-torch-bridge authors"
copyright = "The qiskit-torch-bridge authors, Apache-2.0"
release = version = installed_version(project)

extensions = [
    "mathml",
    "measured",
    "reno.sphinxext",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

doctest_global_setup = """
import warnings

warnings.simplefilter("error")
# torch itself scripts a few functions when forward-mode differentiation is first used.
warnings.filterwarnings("ignore", ".torch.jit.script. is deprecated", DeprecationWarning)
"""
