"""Upscale pictures: `tools/upscale.py --help`."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["upscale", *sys.argv[1:]]))
