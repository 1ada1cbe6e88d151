"""Speed on this machine: training steps, inference and the folder job, beside BasicSR's own way."""
