"""The pages of the documentation that are generated: from recipe schemas, registries, argument parsers and JSON.

`srkd.docs.site.pages()` gives them all; `tools/docs.py` hands them to MkDocs beside the written pages of `docs/`.
"""
