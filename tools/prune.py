"""`srkd prune`: prune a trained network."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["prune", *sys.argv[1:]]))
