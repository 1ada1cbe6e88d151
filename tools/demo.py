"""`srkd demo`: the main job on real photographs."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["demo", *sys.argv[1:]]))
