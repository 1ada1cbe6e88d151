"""`srkd export`: a trained network as verified files for other runtimes."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["export", *sys.argv[1:]]))
