"""Alignment: the scores of pairs of models, with nulls, intervals and rows of the matrix.

It may import metrics and indexes, and reads features and samples where it is given their files.
It gives `zooalign.score`, the rows of the alignment table, permutation nulls and split-half intervals.
"""
