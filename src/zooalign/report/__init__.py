"""The report: one HTML file to look at, which opens from disk and asks nothing of a network.

It may import results, metrics, indexes and all that these may; only the workflow imports it.
It gives `build.make_report`. `document`, `scores`, `maps` and `samples` say what is in the file;
`page` puts data, Plotly and the files of `web/` together.
"""
