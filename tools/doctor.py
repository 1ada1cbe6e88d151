"""`srkd doctor`: what srkd runs on, and what to do."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["doctor", *sys.argv[1:]]))
