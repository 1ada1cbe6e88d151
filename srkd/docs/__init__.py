"""Generated pages of the documentation, from recipe schemas, registries, argument parsers and JSON.

`srkd.docs.site.pages()` returns all of them; `tools/docs.py` adds them to the written pages of `docs/` in MkDocs.
"""
