# SPDX-License-Identifier: Apache-2.0
"""Heads release notes that no tag of the repository covers with the version that the package has.

Without any tag they would stand under 0.0.0, and after one under the tag and a count of commits.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx

UNTAGGED = re.compile(r"0\.0\.0|.*-\d+")


def name_version(app: Sphinx, document: nodes.document) -> None:
    """Put the version into the heading, before tables of contents are made of headings."""
    if app.env.docname != "release-notes":
        return
    for title in document.findall(nodes.title):
        if UNTAGGED.fullmatch(title.astext()):
            title[:] = [nodes.Text(app.config.release)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", name_version, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
