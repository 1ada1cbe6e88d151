"""`srkd serve`: a page and an HTTP API."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["serve", *sys.argv[1:]]))
