"""The built-in demo scene: a laid table in a furnished room, made of distance functions, ray-traced."""

from gsdff.data.demo.write import copy_demo_scene, write_demo_scene

__all__ = ["copy_demo_scene", "write_demo_scene"]
