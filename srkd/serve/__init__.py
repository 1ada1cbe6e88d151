"""`srkd serve`: a page and an HTTP API that upscale images on this machine, and a watched folder.

One thread runs the networks; uploads wait in a queue. Needs the extra `serve`.
"""
