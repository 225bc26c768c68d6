"""The rules of the workflow, one class each, in files of the names of those in workflow/rules.

A rule is applied to *parts*: (dataset,), (model,), (dataset, model), (preparation, dataset, model), (table,),
(capability, model), (figure, dataset) or (report,). Its script in workflow/scripts hands inputs, outputs and
`settings` to one function of the library; `run` does the same outside Snakemake.
"""

from __future__ import annotations

from zooalign.workflow.rule import Rule
from zooalign.workflow.rules.alignment import AlignRow, InferRow
from zooalign.workflow.rules.capability import MeasureCapability
from zooalign.workflow.rules.datasets import BuildDataset
from zooalign.workflow.rules.features import ExtractFeatures, FetchWeights, IndexFeatures, RemoveWeights
from zooalign.workflow.rules.results import MakeFigures, MakeReport, MakeTables
from zooalign.workflow.rules.sensitivity import AlignPrepared, IndexPrepared

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        BuildDataset(),
        FetchWeights(),
        ExtractFeatures(),
        IndexFeatures(),
        AlignRow(),
        InferRow(),
        IndexPrepared(),
        AlignPrepared(),
        MeasureCapability(),
        RemoveWeights(),
        MakeTables(),
        MakeFigures(),
        MakeReport(),
    )
}
