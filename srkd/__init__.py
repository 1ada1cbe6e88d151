"""srkd."""
