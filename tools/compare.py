"""`srkd compare`: compare variants of a recipe with their control."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["compare", *sys.argv[1:]]))
