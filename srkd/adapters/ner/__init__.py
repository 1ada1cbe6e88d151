"""Named entities in Korean text, their types learned step by step: the previous step's model teaches the old ones."""
