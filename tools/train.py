"""`srkd train`: train or distil what a recipe describes."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
