"""The open-vocabulary segmentation benchmarks: LERF-OVS and 3D-OVS."""
