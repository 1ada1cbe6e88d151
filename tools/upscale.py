"""`srkd upscale`: upscale images."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["upscale", *sys.argv[1:]]))
