# SPDX-License-Identifier: Apache-2.0
"""Code as the documentation shows it, for tests to run."""

from __future__ import annotations

import textwrap
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def code_with(words: str, page: str) -> str:
    """Return the one block of code on a page that contains some words."""
    lines = (DOCS / page).read_text().splitlines()
    blocks: list[list[str]] = []
    inside = False
    for line in lines:
        if line.startswith((".. testcode::", ".. code-block:: python", "```{code-cell}")):
            inside = True
            blocks.append([])
            is_cell = line.startswith("```")
        elif inside and (line.startswith("```") if is_cell else line and not line.startswith(" ")):
            inside = False
        elif inside:
            blocks[-1].append(line)
    (found,) = (b for b in map("\n".join, blocks) if words in b)
    return textwrap.dedent(found).strip() + "\n"
