# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration. The build reads nothing from the network."""

import hashlib
import importlib.util
import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

BUILD = Path(__file__).parent / "_build"
sys.path.append(str(Path(__file__).parent / "_ext"))


def digest_of_package() -> str:
    """Return what changes whenever a source file of the package does."""
    spec = importlib.util.find_spec("qiskit_torch_bridge")
    assert spec is not None and spec.origin is not None
    sources = sorted(Path(spec.origin).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


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
    "unreleased",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
pygments_dark_style = "github-dark"  # the default underlines names of modules
html_math_renderer = "mathml"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

python_maximum_signature_line_length = 88
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

# -- notebooks -------------------------------------------------------------------------------------

extensions += ["myst_nb", "notebook_gallery"]
myst_enable_extensions = ["amsmath", "dollarmath"]
# Notebooks run once for all builders, and again when their code changes, or the package's.
# QTB_NOTEBOOKS=off leaves them out, and their figures with them.
nb_execution_mode = os.environ.get("QTB_NOTEBOOKS", "cache")
nb_execution_cache_path = str(BUILD / "notebooks" / digest_of_package())
nb_execution_timeout = 600  # each finishes in a minute or so on a machine that does nothing else
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "warn"  # a warning on a page is an error
nb_merge_streams = True
os.environ.setdefault("OMP_NUM_THREADS", "1")  # notebooks inherit it
os.environ.pop("MPLBACKEND", None)  # under which notebooks show no figure

# What the first process on a machine says while it compiles kernels is not for every reader.
os.environ["IPYTHONDIR"] = str(BUILD / "ipython")
startup = BUILD / "ipython" / "profile_default" / "startup"
startup.mkdir(parents=True, exist_ok=True)
(startup / "kernels.py").write_text(
    "import logging\n"
    "logging.getLogger('qiskit_torch_bridge').addFilter(\n"
    "    lambda record: not record.getMessage().startswith('Compiling the kernels')\n"
    ")\n"
)
