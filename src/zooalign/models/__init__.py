"""Models: what a source gives of a model, whatever library it comes from.

It may import storage and the manifest; sources are found by name.
It gives `VisionModel` and `LanguageModel`, pooling, fetching and loading by manifest row, and the out-of-memory test.
"""
