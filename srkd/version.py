"""The version of srkd, recorded in reports and files."""

__version__ = "0.1.0"
