"""The version of srkd, which reports and files carry."""

__version__ = "0.1.0"
