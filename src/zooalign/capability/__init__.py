"""Capabilities: how good a model is, one file for each kind, found by file name.

They may import features, data, models, storage and the configuration.
Each kind gives VERSION, NEEDS, READS (kinds of datasets), Options and `measure`; `_runner` runs one, `_record` is
what it returns.
"""
