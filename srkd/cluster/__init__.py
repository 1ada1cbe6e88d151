"""More than one machine, by Ray: upscaling of folders, and runs of studies, zoo models and compressions as tasks."""
