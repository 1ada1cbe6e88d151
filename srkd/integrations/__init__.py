"""Integrations of other packages, one module each: BasicSR, spandrel, ncnn, and checkpoints from the package index."""
