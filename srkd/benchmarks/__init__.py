"""Speed on this machine: training, inference and upscaling a folder, compared with BasicSR."""
