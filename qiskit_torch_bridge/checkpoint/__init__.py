# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: all that a training needs to go on to the last bit, in one file."""

from .save_and_load import Checkpoint, load_checkpoint, save_checkpoint

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]
