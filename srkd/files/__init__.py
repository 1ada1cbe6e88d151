"""Files that are whole or not there: atomic writes, locks, digests, downloads, archives, the cache folder."""
