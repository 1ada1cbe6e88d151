"""Recommenders: explicit ratings or implicit behaviours, in one class or several, ranked over all items."""
