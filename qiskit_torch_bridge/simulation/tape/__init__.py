# SPDX-License-Identifier: Apache-2.0
"""Circuits as tapes of Pauli rotations and fixed matrices, which every simulator reads."""
