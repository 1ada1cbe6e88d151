"""Files that srkd's pages share: `base.css`, their style, `compare.js`, before and after under a divider, and
`files.js`, files that are chosen, pasted or dropped."""

from pathlib import Path

FOLDER = Path(__file__).parent
