"""Nulls and intervals of pairs, read back from every row, with p-values adjusted over the whole matrix."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.alignment.inference import benjamini_hochberg
from zooalign.alignment.infer_row import inference_schema
from zooalign.errors import StoreError
from zooalign.results.read import read_pairs

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERSION = 1  # part of the digest of what this module determines

_NULL = ("permutations", "null_mean", "threshold", "p", "calibrated", "alpha", "fixed_samples")
_INTERVAL = ("low", "high", "standard_error", "level", "splits", "interval_of")
_NUMBERS = ("observed", "null_mean", "threshold", "p", "calibrated", "alpha", "low", "high", "standard_error", "level")
_WHOLE = ("permutations", "groups", "fixed_samples", "splits")


def read_inference(paths: Iterable[Path | str]) -> pd.DataFrame:
    """Nulls and intervals of all pairs as one tidy frame.

    Parameters
    ----------
    paths : iterable of path
        Files results/inference/{dataset}/{model}.parquet, in any order.

    Returns
    -------
    DataFrame
        Columns of :func:`zooalign.alignment.infer_row.inference_schema` but for `digest`, and `q`: p adjusted by
        Benjamini and Hochberg over all pairs of one dataset, metric and k, NaN where there is no null. One line
        per pair, dataset, metric and k, sorted by dataset, metric, k and models; whole numbers that may be empty are
        of the type Int64.

    Raises
    ------
    StoreError
        If a file is not Parquet or not as it was written, a column is missing or of another type, a number is not
        finite or p outside [0, 1], a null or interval is there without being whole, or a pair has two lines; names
        the file.
    """
    import pandas as pd
    import pyarrow as pa

    tables = [_read(Path(path)) for path in paths]
    table = pa.concat_tables([inference_schema().empty_table(), *tables]).drop_columns(["digest"])
    frame = table.to_pandas().astype(dict.fromkeys(_WHOLE, "Int64"))
    keys = ["dataset", "metric", "k", "model_x", "model_y"]
    frame = frame.sort_values(keys, kind="stable", ignore_index=True)
    if frame.duplicated(keys).any():
        line = frame[frame.duplicated(keys)].iloc[0]
        raise StoreError(
            f"results/inference/{line['dataset']}: two rows hold {line['metric']} of {line['model_x']} and "
            f"{line['model_y']}. Delete one of them and run the sweep again."
        )
    frame["q"] = pd.Series(float("nan"), frame.index)
    for _, lines in frame.groupby(["dataset", "metric", "k"]):
        frame.loc[lines.index, "q"] = benjamini_hochberg(lines["p"].to_numpy(float))
    return frame


def _read(path: Path) -> pa.Table:
    """One file, checked."""
    import pyarrow.compute as pc

    table = read_pairs(path, inference_schema(), {*_NULL, *_INTERVAL, "groups"}, _NUMBERS)
    again = "Delete it and run the sweep again."
    for columns, reason in ((_NULL, "null_reason"), (_INTERVAL, "interval_reason")):
        absent = [text != "" for text in table[reason].to_pylist()]
        for name in columns:
            if [value is None for value in table[name].to_pylist()] != absent:
                raise StoreError(f"{path}: column {name!r} does not agree with {reason!r}. {again}", path)
    range_of_p = pc.call_function("min_max", [table["p"]]).as_py()
    if range_of_p["min"] is not None and not 0 <= range_of_p["min"] <= range_of_p["max"] <= 1:
        raise StoreError(f"{path}: a p-value lies outside [0, 1]. {again}", path)
    return table
