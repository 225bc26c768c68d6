"""A published table: four forms of the same numbers under one header, whatever is in the cells."""

from __future__ import annotations

import json
import math
import shutil
import subprocess

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.synthetic_findings import (
    MODELS,
    SCORES,
    findings,
    line,
    lines_of,
    many,
    model,
    published,
    record,
    rising,
    write_row,
)
from zooalign.errors import StoreError
from zooalign.registry import plugin, plugin_names
from zooalign.results import latex, publishing
from zooalign.results.answer import sentences
from zooalign.results.findings import Findings
from zooalign.results.publishing import Column, Header, Shown, Table, publish, read_csv, read_header

TABLES = plugin_names("tables")
ANSWERS = ("They are aligned more [+0.1, +0.5].", 'It is "5 %" | of\nall_of_it.')
HEADER = Header(ANSWERS, {"Alignment": "cka", "Text": "a"})
ODD = [
    "plain", "#4, of 5", 'say "no"', "two\nlines", "a|b\\|c", "_x_ 5 % & $2 {~^}", "naïve † ‡ ± ≥ ρ", "#", " padded ",
]  # fmt: skip


def table(words=ODD, numbers=None, **more):
    numbers = [i / 3 for i in range(len(words))] if numbers is None else numbers
    frame = pd.DataFrame({"name": list(words), "score": numbers, "n": range(len(words))})
    columns = (Column("name", "what it is\ncalled"), Column("score", "how good", "bits/byte"), Column("n", "samples"))
    return Table("Odd, #1", frame, columns, (Shown("na|me", "name"), Shown("score", "score")), ("Read it.",), **more)


# --- what programs read -----------------------------------------------------------------------------------


def test_a_csv_gives_back_the_frame(tmp_path):
    made = table()
    publish(made, HEADER, tmp_path / "t")
    read = pd.read_csv(tmp_path / "t.csv", comment="#")
    assert read["name"].tolist() == ODD
    assert read["score"].tolist() == pytest.approx(made.frame["score"].tolist(), abs=1e-8)
    assert read["n"].tolist() == made.frame["n"].tolist()
    assert [row["name"] for row in read_csv(tmp_path / "t.csv")] == ODD


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1)


@given(st.lists(words, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_whatever_is_in_a_cell_comes_back(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("cells") / "t.csv"
    path.write_bytes(publishing.csv_text(table(cells), HEADER).encode())
    assert [row["name"] for row in read_csv(path)] == cells
    assert pd.read_csv(path, comment="#", dtype=str, keep_default_na=False, skip_blank_lines=False)["name"].tolist() \
        == cells  # fmt: skip


def test_the_header_of_a_csv_says_answers_settings_and_columns(tmp_path):
    text = publishing.csv_text(table(), HEADER)
    head = [row for row in text.splitlines() if row.startswith("# ")]
    assert head == [
        "# Odd, #1", "# They are aligned more [+0.1, +0.5].", '# It is "5 %" | of all_of_it.', "# Alignment: cka",
        "# Text: a", "# name: what it is called", "# score [bits/byte]: how good", "# n: samples",
    ]  # fmt: skip
    assert text.splitlines()[len(head)] == "name,score,n"


def test_numbers_that_are_none_are_empty_and_infinite_ones_are_kept(tmp_path):
    publish(table(["a", "b", "c"], [math.nan, math.inf, -math.inf]), HEADER, tmp_path / "t")
    assert [row["score"] for row in read_csv(tmp_path / "t.csv")] == ["", "inf", "-inf"]
    read = pd.read_csv(tmp_path / "t.csv", comment="#")["score"].tolist()
    assert math.isnan(read[0])
    assert read[1:] == [math.inf, -math.inf]
    assert "| a |  |" in (tmp_path / "t.md").read_text()


def test_parquet_holds_header_meanings_and_units(tmp_path):
    made = table()
    publish(made, HEADER, tmp_path / "t")
    schema = pq.read_schema(tmp_path / "t.parquet")
    says = json.loads(schema.metadata[publishing.HEADER_KEY])
    assert says["title"] == made.title
    assert says["notes"] == list(made.notes)
    assert read_header(tmp_path / "t.parquet") == HEADER
    for column in made.columns:
        about = schema.field(column.name).metadata
        assert about == {b"meaning": column.meaning.encode(), b"unit": column.unit.encode()}
    pd.testing.assert_frame_equal(pq.read_table(tmp_path / "t.parquet").to_pandas(), made.frame)


def test_what_is_no_published_table_is_refused(tmp_path):
    for name, content in (("a", b"no parquet"), ("b", None)):
        if content is not None:
            (tmp_path / f"{name}.parquet").write_bytes(content)
        with pytest.raises(StoreError, match=rf"{name}\.parquet: has no header .* run the sweep again"):
            read_header(tmp_path / f"{name}.parquet")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(StoreError, match="has no header"):
        read_header(tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match=r"d\.csv: cannot be read"):
        read_csv(tmp_path / "d.csv")


def test_columns_that_are_not_described_are_refused():
    with pytest.raises(AssertionError, match="score"):
        Table("t", table().frame, (Column("name", "called"),), ())


# --- what people read -------------------------------------------------------------------------------------


def test_markdown_shows_cells_as_they_are(tmp_path):
    publish(table(), HEADER, tmp_path / "t")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert text.startswith("# Odd, #1\n\n> They are aligned more [+0.1, +0.5].\n>\n> It is")
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    assert rows[0] == "| na\\|me | score |"
    assert "| two lines | 1.0000 |" in rows
    assert r"| a\|b\\\|c | 1.3333 |" in rows
    assert r"| \_x\_ 5 % & $2 {~^} | 1.6667 |" in rows
    assert len(rows) == 2 + len(ODD)


def test_latex_escapes_what_it_must(tmp_path):
    publish(table(), HEADER, tmp_path / "t")
    text = (tmp_path / "t.tex").read_text(encoding="utf-8")
    assert r"\_x\_ 5 \% \& \$2 \{\textasciitilde{}\textasciicircum{}\} & 1.6667 \\" in text
    assert r"a\textbar{}b\textbackslash{}\textbar{}c & " in text
    assert r"\#4, of 5 & " in text
    assert r"naïve \dag{} \ddag{} $\pm$ $\ge$ $\rho$ & " in text
    assert r"\label{tab:t}" in text
    assert "% They are aligned more [+0.1, +0.5]." in text
    assert latex.escape("a_b") == r"a\_b"


def test_long_sections_are_cut_for_people_and_whole_for_programs(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "MOST_SHOWN", 3)
    publish(table(), HEADER, tmp_path / "t")
    for suffix in (".md", ".tex"):
        text = (tmp_path / f"t{suffix}").read_text()
        assert f"... and {len(ODD) - 3} more rows, in the CSV and Parquet files." in text
        assert "padded" not in text
    assert len(read_csv(tmp_path / "t.csv")) == len(ODD)


# --- every table ------------------------------------------------------------------------------------------

NEVER_TRAINED = [m for m in MODELS if m.control]
PROBES = {"bits_per_byte": {"gpt": 1.0, "noise_l": 3.0}, "probe": {"cnn": 0.9, "vit": 0.8}}
LANGUAGE, VISION = many(6), [model("eye", "vision"), model("lens", "vision", "g")]


def only(comparison):
    return {pair: s for pair, s in SCORES.items() if line(*pair, s)["comparison"] == comparison}


SPARSE = {
    "no rows": {"lines": [], "capabilities": PROBES},
    "nothing at all": {"lines": [], "capabilities": {}},
    "no capabilities": {"capabilities": {}},
    "one model": {"models": MODELS[:1], "scores": {}, "capabilities": {"probe": {"cnn": 0.9}}},
    "controls only": {"models": NEVER_TRAINED, "scores": {("noise_v", "noise_l"): 0.01}},
    "no comparison across": {"scores": only("vision-vision"), "capabilities": PROBES},
    "no comparison within": {"scores": only("vision-language"), "capabilities": PROBES},
    "all scores equal": {
        "models": [*LANGUAGE, *VISION],
        "scores": dict.fromkeys(rising(LANGUAGE, VISION), 0.25),
        "capabilities": {"bits_per_byte": {m.id: 1 + i / 10 for i, m in enumerate(LANGUAGE)}},
    },
    "all capabilities failed": {"capabilities": {"bits_per_byte": {"gpt": "out | of memory"}}},
    "a dataset without rows": {"datasets": ("pictures", "emoji"), "lines": lines_of(), "capabilities": PROBES},
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("case", SPARSE)
def test_where_little_was_found_there_is_a_table_that_says_so(name, case, tmp_path):
    made = published(name, findings(tmp_path, **SPARSE[case]), tmp_path / "tables")
    assert made.table.notes
    assert made.read().columns.tolist() == [column.name for column in made.table.columns]
    if not len(made.frame):
        assert "There are no rows." in made.markdown
        assert "There are no rows." in made.latex
    assert not {"nan", "None", "<NA>"} & {cell for row in made.markdown.splitlines() for cell in row.split(" | ")}


@pytest.mark.parametrize("name", TABLES)
def test_every_form_of_every_table_has_the_header(name, tmp_path):
    found = findings(tmp_path, capabilities=PROBES)
    made = published(name, found, tmp_path / "tables")
    answers = sentences(found)
    assert answers
    for text in (made.csv, made.markdown, made.latex):
        assert all(answer in text for answer in answers)
        assert "mutual_knn@10" in text
        assert "clamp_quantile 0.95" in text
    assert read_header(f"{made.path}.parquet").answers == answers


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_sets_every_table(tmp_path):
    bodies = ["\\input{odd.tex}"]
    publish(table(), HEADER, tmp_path / "odd")
    for case in ("no rows", "no comparison within"):
        folder = tmp_path / case.replace(" ", "_")
        found = findings(folder, **SPARSE[case])
        bodies += [f"\\input{{{published(name, found, folder).path}.tex}}" for name in TABLES]
    document = [r"\documentclass[landscape]{article}", r"\usepackage{booktabs,longtable}", r"\begin{document}"]
    (tmp_path / "all.tex").write_text("\n".join([*document, *bodies, r"\end{document}"]), encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=tmp_path,
                          capture_output=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


# --- one number, everywhere -------------------------------------------------------------------------------


def test_a_stored_score_is_in_every_table_and_figure_and_in_the_answer(tmp_path):
    """Change one score in one row file: every table that shows it changes, and what the header says."""
    models = [*many(8), *many(2, "vision", prefix="v")]
    scores = rising(models[:8], models[8:], slope=0.02)
    scores |= {("v00", "v01"): 0.61}
    capabilities = {
        "bits_per_byte": {m.id: 2.0 - 0.1 * i for i, m in enumerate(models[:8])},
        "probe": {"v00": 0.9, "v01": 0.8},
    }

    def everything(found, folder):
        return {name: published(name, found, folder) for name in TABLES}

    found = findings(tmp_path, models=models, scores=scores, capabilities=capabilities)
    before, said = everything(found, tmp_path / "before"), found.header.answers
    digests = {name: found.digest("tables", name) for name in TABLES}
    [row] = [path for path in found.row_paths if path.stem == "v00"]
    changed = {pair: s for pair, s in scores.items() if pair[0] == "v00"} | {("v00", "m07"): 0.0123}
    write_row(row, lines_of(changed, models=models))
    again = Findings(found.sweep, found.row_paths, found.capability_paths)
    after = everything(again, tmp_path / "after")
    assert again.header.answers != said
    assert said[0] != again.header.answers[0]
    for name in TABLES:
        assert digests[name] != again.digest("tables", name)
        for suffix, content in after[name].bytes().items():
            assert content != before[name].bytes()[suffix], f"{name}{suffix}: not even the header"
    for name in ("heat_map", "language_alignment", "scatter"):
        for sweep, place in ((found, "before"), (again, "after")):
            plugin("figures", name, "figure").draw(sweep, "pictures", tmp_path / place / name)
        pictures = [(tmp_path / place / f"{name}.svg").read_bytes() for place in ("before", "after")]
        assert pictures[0] != pictures[1], name
        assert found.digest("figures", name) != again.digest("figures", name)
    # All else is equal, so whatever changed in the rows is of that score.
    mean = (0.0123 + scores["v01", "m07"]) / 2
    beside = after["capability_alignment"].frame.set_index("id")
    assert beside.loc["m07", "pictures_other"] == pytest.approx(mean)
    assert f"{mean:.4f}" in after["capability_alignment"].markdown
    assert "0.0123" in after["alignment"].markdown
    assert "0.01230000" in after["alignment"].csv
    trend = after["populations"].frame["spearman"]
    assert trend.iloc[0] < before["populations"].frame["spearman"].iloc[0]
    assert f"{trend.iloc[0]:+.2f}" in again.header.answers[0]
    # It is no pair of two vision models, and no capability.
    for name in ("solved_bins", "solved_tasks", "capability"):
        pd.testing.assert_frame_equal(after[name].frame, before[name].frame)


def test_a_stored_capability_is_in_every_table_that_shows_it(tmp_path):
    found = findings(tmp_path, capabilities={"probe": {"cnn": 0.9, "vit": 0.8}})
    before = {name: published(name, found, tmp_path / "before") for name in TABLES}
    record(tmp_path / "capability", "probe", "vit", 0.4321)
    again = Findings(found.sweep, found.row_paths, found.capability_paths)
    for name in ("capability", "capability_alignment", "solved_tasks"):
        made = published(name, again, tmp_path / "after")
        assert "0.4321" in made.markdown
        assert "0.4321" not in before[name].markdown
