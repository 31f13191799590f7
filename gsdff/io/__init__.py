"""Files shared with other programs (PLY, pictures, video, COCO), and the files of a run."""
