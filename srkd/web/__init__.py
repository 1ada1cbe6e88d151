"""Files that srkd's pages share: `base.css`, their style, and `compare.js`, before and after under a divider."""

from pathlib import Path

FOLDER = Path(__file__).parent
