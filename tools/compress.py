"""`srkd compress`: a budget in, a student out."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["compress", *sys.argv[1:]]))
