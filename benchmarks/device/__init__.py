# SPDX-License-Identifier: Apache-2.0
"""The parts of ``gpu.py``: each measures one thing on a device, and records it as it goes."""
