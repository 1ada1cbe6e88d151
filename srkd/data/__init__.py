"""Data sets: manifests, decoded stores, near-duplicates, degradations and training patches."""
