"""Datasets: posed photos on disk become a `gsdff.scene.Scene`."""

from gsdff.data.loader import load_scene

__all__ = ["load_scene"]
