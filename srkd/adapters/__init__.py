"""Domains other than super-resolution: data sets, networks and metrics. No adapter imports another one or srkd.sr."""
