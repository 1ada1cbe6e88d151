"""`srkd upscale`: upscale pictures."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["upscale", *sys.argv[1:]]))
