# SPDX-License-Identifier: Apache-2.0
"""The README's badges, from ``pyproject.toml`` and ``tox.ini``: ``python badges.py [FOLDER]``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "badges"
BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" \
aria-label="{name}: {text}">
<rect width="{width}" height="20" rx="3" fill="#475569"/>
<path d="M{left} 0h{right}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="#2f6fde"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="6" y="14" textLength="{left_text}">{name}</text>
<text x="{start}" y="14" textLength="{right_text}">{text}</text>
</g>
</svg>
"""


def read_facts() -> dict[str, str]:
    """Return what the badges say, by name."""
    project = (ROOT / "pyproject.toml").read_text()
    tests = (ROOT / "tox.ini").read_text()

    def find(pattern: str, text: str = project) -> str:
        return re.search(pattern, text)[1]

    pythons = re.findall(r"Python :: (3\.\d+)", project)
    qiskits = re.findall(r"qiskit\d\d: qiskit~=(\d\.\d)", tests)
    return {
        "version": find(r'\nversion = "([^"]+)"'),
        "Python": f"{pythons[0]} to {pythons[-1]}",
        "Qiskit": find(r"qiskit>=([\d.]+)") + " and newer",
        "PyTorch": find(r"torch>=([\d.]+)") + " and newer",
        "license": find(r'\nlicense = "([^"]+)"'),
        "tests": f"on Qiskit {', '.join(sorted(qiskits))}",
        "coverage": "at least " + find(r"fail_under = (\d+)") + "%",
    }


def draw_badge(name: str, text: str) -> str:
    """Return a badge as SVG."""
    left_text, right_text = round(6.1 * len(name)), round(6.0 * len(text))
    return BADGE.format(
        name=name,
        text=text,
        left=left_text + 12,
        right=right_text + 9,
        start=left_text + 18,
        width=left_text + right_text + 24,
        left_text=left_text,
        right_text=right_text,
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in read_facts().items():
        (FOLDER / f"{name.lower()}.svg").write_text(draw_badge(name, text))
