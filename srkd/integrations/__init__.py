"""Other packages, each behind one file: BasicSR, spandrel, and checkpoints fetched from package registries."""
