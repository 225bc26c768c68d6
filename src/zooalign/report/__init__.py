"""The report: one HTML file to look at, which opens from disk and asks nothing of a network.

`build.make_report` writes it from what tables and figures are made from. `document`, `scores`, `maps` and `samples` say
what is in it; `page` puts data, Plotly and the files of `page/` together. May import everything up to `tables` and
`figures`; only the workflow imports it.
"""
