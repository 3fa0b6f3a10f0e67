# SPDX-License-Identifier: Apache-2.0
"""The command ``doctor``: what works here, what to know, and what to do about what does not."""

from .examination import add_command, examine
from .findings import Finding, as_json, as_text, worst

__all__ = ["Finding", "add_command", "as_json", "as_text", "examine", "worst"]
