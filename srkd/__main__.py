"""`python -m srkd` is the command `srkd`."""

from srkd.cli.main import main

raise SystemExit(main())
