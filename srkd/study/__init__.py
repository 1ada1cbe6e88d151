"""Comparisons: the demonstration, variants against their control, and srkd against other tools."""
