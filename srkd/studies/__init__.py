"""Studies: variants of a recipe against their control, over seeds, and the statistics of their verdicts."""
