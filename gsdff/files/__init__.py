"""Files and folders: read in one place per format, written whole or not at all, found by name, and checked."""
