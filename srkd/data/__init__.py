"""Data sets: manifests, image stores, near-duplicate search, degradations and training patches."""
