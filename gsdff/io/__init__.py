"""Files that other programs read and write: PLY, pictures, video, COCO."""
