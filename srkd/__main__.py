"""`python -m srkd` runs the command `srkd`."""

from srkd.cli.main import main

raise SystemExit(main())
