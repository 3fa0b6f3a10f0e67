# SPDX-License-Identifier: Apache-2.0
"""A Sphinx directive that shows notebooks as cards: a figure of each, its title, what it is about.

.. code-block:: rst

    .. notebook-gallery::

       first-layer
       mnist

The figure is the one that the notebook's cell with the tag ``thumbnail`` has drawn; what a notebook
is about is ``summary`` in its front matter.
"""

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)


class gallery(nodes.General, nodes.Element):
    """Where the cards of ``docnames`` come once all pages have been read."""


class NotebookGallery(SphinxDirective):
    """``notebook-gallery``: one document name a line, relative to the page."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a node that is filled in later, and one that puts the pages into the contents."""
        self.env.metadata[self.env.docname]["galleries"] = "yes"
        folder = self.env.docname.rpartition("/")[0]
        names = [f"{folder}/{line.strip()}".lstrip("/") for line in self.content if line.strip()]
        for name in names:
            if name not in self.env.found_docs:
                raise self.error(f"The gallery names '{name}', which is no page.")
        contents = addnodes.toctree(
            parent=self.env.docname, entries=[(None, name) for name in names], includefiles=names,
            hidden=True, maxdepth=-1, glob=False, caption=None, titlesonly=False, numbered=0,
            includehidden=False, rawentries=[], rawcaption="",
        )  # fmt: skip
        wrapper = nodes.compound(classes=["toctree-wrapper"])
        wrapper += contents
        return [gallery(docnames=names), wrapper]


def find_thumbnail(page: nodes.document) -> nodes.image | None:
    """Return the image that the cell with the tag ``thumbnail`` shows."""
    for cell in page.findall(nodes.container):
        if "tag_thumbnail" in cell["classes"]:
            for image in cell.findall(nodes.image):
                return image
    return None


def make_card(app: Sphinx, source: str, name: str) -> nodes.container:
    """Return the card of the notebook ``name`` for the page ``source``."""
    title = app.env.titles[name].astext()
    summary = app.env.metadata[name].get("summary", "")
    card = nodes.container(classes=["notebook-card"])
    image = find_thumbnail(app.env.get_doctree(name))
    if image is not None:
        shown = image.deepcopy()
        shown["alt"] = ""  # the link beside it says where it leads
        card += shown
    elif app.config.nb_execution_mode != "off":
        logger.warning("No cell of '%s' with the tag 'thumbnail' draws a figure.", name)
    address = app.builder.get_relative_uri(source, name)
    heading = nodes.paragraph(classes=["notebook-card-title"])
    heading += nodes.reference("", title, internal=True, refuri=address)
    card += heading
    card += nodes.paragraph("", summary)
    return card


def fill_galleries(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put cards in the place of galleries, once all pages have been read."""
    for found in list(doctree.findall(gallery)):
        cards = nodes.container(classes=["notebook-gallery"])
        for name in found["docnames"]:
            cards += make_card(app, docname, name)
        found.replace_self(cards)


def pages_with_galleries(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Return pages to write again when a notebook may have changed."""
    return [name for name, known in env.metadata.items() if "galleries" in known]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_node(gallery)
    app.add_css_file("notebooks.css")
    app.add_directive("notebook-gallery", NotebookGallery)
    app.connect("doctree-resolved", fill_galleries)
    app.connect("env-updated", pages_with_galleries)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
