"""`srkd train`: train or distil what a recipe describes."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["train", *sys.argv[1:]]))
