"""`srkd prune`: prune a trained network."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["prune", *sys.argv[1:]]))
