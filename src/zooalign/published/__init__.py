"""Published results: readers of files in which others publish capabilities, one file per format, found by content.

They may import the configuration and the root; `config.external` finds them by name.
Each gives `recognises` and `read`; `_importing` matches what they read with rows of the zoo. They need no VERSION:
digests of tables and figures hold the values themselves.
"""
