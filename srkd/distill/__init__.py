"""What surrounds a loss: taps on any network, teachers and their caches, the weighted objective."""
