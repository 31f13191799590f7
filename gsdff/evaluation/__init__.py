"""Scores of a run: images, features, and the protocols of published benchmarks."""
