"""Upscaling of video clips, by PyAV: read, write, and the resumable job in segments."""
