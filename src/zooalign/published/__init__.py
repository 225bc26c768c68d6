"""Published results: readers of files in which others publish capabilities, one file per format, found by content.

They may import the configuration and the root; `config.external` finds them by name.
Each gives VERSION, `recognises` and `read`; `_importing` matches what they read with rows of the zoo.
"""
