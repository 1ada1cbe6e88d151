"""Imitation: a student learns a teacher's outputs on degraded patches of any photographs, without ground truth."""
