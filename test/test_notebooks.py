# SPDX-License-Identifier: Apache-2.0
"""The sources of the documentation's notebooks; the build of the documentation runs them."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from documented import DOCS

FOLDER = DOCS / "tutorials"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.md"))
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(---\n.*?^---\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
FOREIGN = re.compile(r"fetch_|urlopen|urlretrieve|requests|https?://")
"""What would ask for the network."""


class Notebook(NamedTuple):
    """The parts of a notebook's source."""

    front: str  # its front matter
    text: str  # all that follows it
    cells: list[tuple[str, str]]  # options and code of each cell


@cache
def read(name: str) -> Notebook:
    _, front, text = (FOLDER / f"{name}.md").read_text(encoding="utf-8").split("---\n", 2)
    return Notebook(front, text, CELL.findall(text))


def names_in(index: Path) -> list[str]:
    """Return what the galleries of a page name."""
    galleries = re.findall(r"^\.\. notebook-gallery::\n\n((?:   \S+\n)+)", index.read_text(), re.M)
    return [name for gallery in galleries for name in gallery.split()]


def test_there_are_ten_and_each_is_in_the_gallery_once():
    assert len(NOTEBOOKS) >= 10
    assert sorted(names_in(FOLDER / "index.rst")) == NOTEBOOKS
    assert not list(DOCS.glob("[!_]*/**/*.ipynb")), "sources are text, without outputs"


@pytest.mark.parametrize("name", NOTEBOOKS)
class TestNotebook:
    def test_it_opens_in_jupyter_and_says_what_it_is(self, name):
        notebook = read(name)
        for line in ("format_name: myst", "name: python3"):
            assert line in notebook.front
        # A colon would make it something else in YAML.
        assert re.search(r"^summary: [^:]{30,110}\.$", notebook.front, re.MULTILINE)
        assert re.match(r"\s*(\([\w-]+\)=\n\s*)?# \S", notebook.text)
        assert f"<{name}.ipynb>`" in notebook.text

    def test_one_figure_is_its_thumbnail_and_all_have_words(self, name):
        notebook = read(name)
        assert sum("tags: [thumbnail]" in options for options, _ in notebook.cells) == 1
        for options, code in notebook.cells:
            assert ("alt: " in options) == ("plt.subplots" in code or "plt.figure" in code)

    def test_it_holds_no_output(self, name):
        text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        assert "image/png" not in text and "{code-cell}" in text
        assert not re.search(r"^```\{(code-)?output", text, re.MULTILINE)

    def test_its_code_asks_for_nothing_from_elsewhere_and_fits_the_page(self, name):
        for _, code in read(name).cells:
            assert not FOREIGN.search(code)
            assert max(map(len, code.splitlines())) <= 100

    def test_it_imports_public_names_only(self, name):
        imports = [
            node
            for _, code in read(name).cells
            for node in ast.walk(ast.parse(code))
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        found = 0
        for node in imports:
            assert isinstance(node, ast.ImportFrom) or "qiskit_torch_bridge" not in ast.dump(node)
            module = getattr(node, "module", "")
            if module.partition(".")[0] != "qiskit_torch_bridge":
                continue
            assert module.count(".") <= 1 and not module.endswith("demos")
            room = importlib.import_module(module)
            public = getattr(room, "__all__", [name for name in vars(room) if name[0] != "_"])
            assert {alias.name for alias in node.names} <= set(public)
            found += 1
        assert found, "a notebook of this package uses it"
