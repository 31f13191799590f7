"""Scores of a field: images, features, and published benchmarks."""
