"""The two-stage training of a scene: RGB first, then RGB and features."""
