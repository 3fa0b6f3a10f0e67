# SPDX-License-Identifier: Apache-2.0
"""What a check finds, and how it is shown: in words, in colour, as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Status = Literal["ok", "warn", "fail"]
COLOURS: dict[str, str] = {"ok": "\033[32m", "warn": "\033[33m", "fail": "\033[31m"}
PLAIN = "\033[0m"
WIDTH = 100


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        name: What was looked at.
        status: ``"ok"``; ``"warn"`` for something to know or to do before relying on it; ``"fail"``
            where the package does not work or would compute something wrong.
        found: What was found.
        meaning: What it means for the user.
        remedy: What to do, unless it is ok.
        group: The story it belongs to.
        seconds: What finding it out took.
    """

    name: str
    status: Status
    found: str
    meaning: str = ""
    remedy: str = ""
    group: str = ""
    seconds: float = 0.0


def worst_status(findings: Iterable[Finding]) -> Status:
    """Return the most serious status."""
    found = {finding.status for finding in findings}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"


def format_text(findings: Sequence[Finding], *, colour: bool, width: int = WIDTH) -> str:
    """Return the report for people, with a remedy below all that is not ok."""
    lines: list[str] = []
    group = None
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += [""] * bool(lines) + [group]
        word = f"{finding.status:<4}"
        if colour:
            word = f"{COLOURS[finding.status]}{word}{PLAIN}"
        said = f"{finding.name}: {finding.found}"
        if finding.status == "ok" and finding.meaning:
            said += f". {finding.meaning}"
        first, *rest = _wrap(said, width - 8)
        lines += [f"  {word}  {first}", *(f"          {line}" for line in rest)]
        for label, text in (("means", finding.meaning), ("do", finding.remedy)):
            if text and finding.status != "ok":
                first, *rest = _wrap(f"{label}: {text}", width - 10)
                lines += [f"          {first}", *(f"            {line}" for line in rest)]
    lines += ["", _summarise(findings)]
    return "\n".join(lines)


def format_json(findings: Sequence[Finding], version: str) -> str:
    """Return the report for machines: version, status of the whole, and all findings."""
    report = {
        "version": version,
        "status": worst_status(findings),
        "findings": [{**f._asdict(), "seconds": round(f.seconds, 3)} for f in findings],
    }
    return json.dumps(report, indent=2)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 30), break_long_words=False, break_on_hyphens=False)


def _summarise(findings: Sequence[Finding]) -> str:
    counts = {status: sum(f.status == status for f in findings) for status in COLOURS}
    seconds = sum(f.seconds for f in findings)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    verdict = {
        "ok": "Everything is as it should be.",
        "warn": "The package works here; what is marked warn is worth reading.",
        "fail": "Something does not work here: see what is marked fail.",
    }[worst_status(findings)]
    return f"{said} in {seconds:.1f} s. {verdict}"
