# SPDX-License-Identifier: Apache-2.0
"""Equations as MathML, made when the pages are built: no script, nothing from another host.

Every browser draws MathML itself, as text: it is copied, searched, printed and read aloud, and
takes the color of the page. ``_static/math.woff2`` has the signs, since browsers have no good ones.
"""

from docutils import nodes
from math_core import LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

CONVERTER = LatexToMathML(fancy_error=False)


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write an equation within a line."""
    self.body.append(_convert(node.astext(), node, display=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on lines of its own, which can be scrolled where the page is narrow."""
    text = node.astext().strip().replace("\n\n", r"\\")
    if r"\\" in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_convert(text, node, display=True) + "</div>")
    raise nodes.SkipNode


def _convert(text: str, node: nodes.Node, display: bool) -> str:
    """Return MathML, or say where the equation is that cannot be read."""
    try:
        return CONVERTER.convert_with_local_state(text, displaystyle=display)
    except Exception as error:
        raise ValueError(f"{node.source}:{node.line}: {text}: {error}") from error


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
