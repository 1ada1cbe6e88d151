"""`srkd prepare_data`: fetch, check and decode data sets."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["prepare_data", *sys.argv[1:]]))
