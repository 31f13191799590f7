"""The built-in demo scene: a laid table in a furnished room, modelled with distance functions and ray-traced on the CPU."""

from gsdff.data.demo.write import write_demo_scene

__all__ = ["write_demo_scene"]
