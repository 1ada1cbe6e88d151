"""`srkd serve`: a page and an HTTP API."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["serve", *sys.argv[1:]]))
