"""`srkd benchmark`: measure srkd on this machine."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["benchmark", *sys.argv[1:]]))
