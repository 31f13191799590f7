"""Phases of `scripts/gpu_check.sh`: what tests and measures gsdff on a CUDA card, a few minutes at a time.

Only the standard library is imported here and in the phases themselves: they run before anything is installed.
"""
