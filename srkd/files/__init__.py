"""File handling: atomic writes, locks, digests, downloads, archives, the cache folder."""
