"""Edits of selected Gaussians, and the files that list them."""
