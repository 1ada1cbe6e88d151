"""Recommenders: ratings or behaviours of users towards items, of one class or several, ranked over all items."""
