"""Every option of a training run: dataclasses, and the TOML files that set them."""
