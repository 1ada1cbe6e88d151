"""The command line: one module per command, argument parsing only."""
