"""Training: recipes, the Task protocol, one loop, checkpoints and logging. Knows no task by name."""
