"""Whether the order of models depends on choices of the sweep."""

VERSION = 1  # part of the digest of what this module determines
