"""A scene with features: queries, selections by text or example, segmentation."""
