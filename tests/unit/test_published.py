"""Published results: every format in its forms, and one value per capability and row."""

import csv
import io
import json
import math

import pytest

from tests.unit.published_files import (
    EXAMPLES,
    HARNESS,
    LEADERBOARD,
    OPEN_CLIP,
    OWN,
    VTAB,
    ZOO,
    imported,
    run,
    values,
    write,
)
from zooalign.config.external import read_external
from zooalign.published._importing import import_files, to_csv
from zooalign.registry import plugin, plugin_names


def test_every_reader_has_an_example_here():
    assert set(EXAMPLES) == set(plugin_names("published"))


@pytest.mark.parametrize("name", plugin_names("published"))
def test_a_reader_knows_its_own_format_and_no_other(name, tmp_path):
    content, file = EXAMPLES[name]
    module = plugin("published", name, "format")
    for other, (text, _) in EXAMPLES.items():
        if isinstance(text, str):
            keys = set(next(csv.reader(io.StringIO(text))))
        else:
            keys = set((text[0] if isinstance(text, list) else text).keys())
        assert module.recognises(keys) == (other == name), other
    found = imported(tmp_path, content, file)
    assert found.rows
    assert {r.source for r in found.rows} <= {name, "paper", "mine"}
    assert all(r.capability == r.capability.lower() for r in found.rows)
    assert imported(tmp_path, content, file, form=name).rows == found.rows
    # What is written is read back as it was.
    written = write(tmp_path, to_csv(found.rows), "out.csv")
    back = read_external([written], ZOO)
    assert [r._replace(where="") for r in back] == [
        pytest.approx(r._replace(where=""), nan_ok=True) for r in found.rows
    ]


def test_open_clip(tmp_path):
    result = imported(tmp_path, OPEN_CLIP, "openclip_results.csv")
    found = values(result)
    assert found["vit_huge_patch14_clip_224_laion2b", "open_clip_imagenet_1k"] == 0.7796
    assert found["vit_huge_patch14_clip_224_laion2b", "open_clip_average_perf_on_38_datasets"] == 0.6419
    # Both names of OpenAI's weights agree, so they are one value, of the tower in timm and of the one on the hub.
    assert found["vit_base_patch32_clip_224_openai", "open_clip_caltech_101"] == 0.8758
    assert found["clip_b32_hub", "open_clip_caltech_101"] == 0.8758
    # The same weights with two activations: each row has that of its own.
    assert found["vit_base_patch32_clip_224_laion400m_e32", "open_clip_imagenet_1k"] == 0.6024
    assert found["vit_base_patch32_clip_quickgelu_224_laion400m_e32", "open_clip_imagenet_1k"] == 0.6293
    assert not any(model in ("text_b32", "vit_huge_patch14_clip_224_laion2b_ft_in12k") for model, _ in found)
    assert [m.label for m in result.unmatched] == ["nllb-clip-base, v1"]
    units = {r.capability: r.unit for r in result.rows}
    assert (units["open_clip_imagenet_1k"], units["open_clip_mscoco"]) == ("accuracy", "recall")
    assert not any("params" in r.capability or "flops" in r.capability for r in result.rows)


def test_clip_benchmark_means_over_vtab(tmp_path):
    found = values(imported(tmp_path, VTAB))
    assert found == {
        ("vit_base_patch32_clip_224_openai", "vtab_probe"): pytest.approx(0.6971, abs=5e-5),
        ("clip_b32_hub", "vtab_probe"): pytest.approx(0.6971, abs=5e-5),
        ("vit_large_patch14_clip_224_laion2b", "vtab_probe"): pytest.approx(0.7448, abs=5e-5),
        ("vit_huge_patch14_clip_224_laion2b", "vtab_probe"): pytest.approx(0.7596, abs=5e-5),
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (run(lp_acc1=0.9, lp_acc5=0.99, lp_mean_per_class_recall=0.8),
         {"vtab_caltech101_probe": 0.9, "vtab_caltech101_probe_acc5": 0.99,
          "vtab_caltech101_probe_mean_per_class_recall": 0.8}),
        (run(acc1=0.9, lr=0.01, epochs=10, fewshot_k=-1), {"vtab_caltech101_probe": 0.9}),
        (run(lp_acc1=0.6, fewshot_k=10), {"vtab_caltech101_probe_10shot": 0.6}),
        (run("wds/vtab/pcam", "zeroshot_classification", acc1=0.5, acc5=math.nan), {"vtab_pcam_zeroshot": 0.5}),
        (run("imagenet1k", "zeroshot_classification", "it", acc1=0.4), {"imagenet1k_zeroshot_it": 0.4}),
        (run("flickr30k", "zeroshot_retrieval", **{"image_retrieval_recall@5": 0.85}),
         {"flickr30k_image_retrieval_recall_5": 0.85}),
    ],
)  # fmt: skip
def test_clip_benchmark_runs(tmp_path, content, expected):
    result = imported(tmp_path, content)
    assert {r.capability: r.value for r in result.rows} == expected
    lines = "".join(json.dumps(run(f"d{i}", lp_acc1=i / 4)) + "\n" for i in range(3))
    assert len(imported(tmp_path, lines, "runs.jsonl").rows) == 3


def test_clip_benchmark_tables_and_folders_say_the_same(tmp_path):
    runs = [run(f"d{i}", lp_acc1=i / 4, lp_acc5=0.9) for i in range(3)]
    folder = tmp_path / "runs"
    folder.mkdir()
    for i, one in enumerate(runs):
        write(folder, one, f"{i}.json")
    flat = [{**one, **one["metrics"], "model_fullname": "ViT-H-14 laion2b_s32b_b79k"} for one in runs]
    keys = [key for key in flat[0] if key != "metrics"]
    table = "\n".join(",".join(map(str, line)) for line in [keys, *([one[key] for key in keys] for one in flat)])
    expected = {f"d{i}_probe{end}": v for i in range(3) for end, v in (("", i / 4), ("_acc5", 0.9))}
    for found in (import_files([folder], ZOO), imported(tmp_path, table + "\n", "benchmark.csv")):
        assert {r.capability: r.value for r in found.rows} == expected


def test_the_order_of_columns_changes_nothing(tmp_path):
    head = "lp_acc5,lp_mean_per_class_recall,fewshot_k,lr,dataset,pretrained,model,lp_acc1"
    lines = [f"{a},0.{i},10.0,{i},d,,laion/CLIP-ViT-H-14-laion2B-s32B-b79K,{b}"
             for i, a, b in ((1, 0.99, 0.6), (2, 0.9, 0.7))]  # fmt: skip
    result = imported(tmp_path, "\n".join([head, *lines]) + "\n", "benchmark.csv")
    assert values(result) == {
        ("vit_huge_patch14_clip_224_laion2b", "d_probe_10shot"): 0.7,
        ("vit_huge_patch14_clip_224_laion2b", "d_probe_10shot_acc5"): 0.9,
        ("vit_huge_patch14_clip_224_laion2b", "d_probe_10shot_mean_per_class_recall"): 0.2,
    }


def test_of_probes_with_several_settings_the_best_counts_and_of_seeds_none(tmp_path):
    trials = [run(lp_acc1=a, lp_acc5=b, lr=lr, seed=0) for a, b, lr in ((0.6, 0.95, 0.1), (0.7, 0.9, 0.01))]
    folder = tmp_path / "trials"
    folder.mkdir()
    for i, one in enumerate(trials):
        write(folder, one, f"{i}.json")
    result = import_files([folder], ZOO)
    assert {r.capability: r.value for r in result.rows} == {
        "vtab_caltech101_probe": 0.7, "vtab_caltech101_probe_acc5": 0.9,
    }  # fmt: skip
    assert "the best on the test set counts" in result.remarks[0]
    for lr in (0.1, 0.01):
        seeds = [run(lp_acc1=0.6, lr=0.1, seed=0), run(lp_acc1=0.7, lr=lr, seed=1)]
        result = imported(tmp_path, seeds)
        assert result.rows == []
        assert "several values of vtab_caltech101_probe: 0.6 (" in result.several[0]
        assert "item 2" in result.several[0]


def test_lm_eval(tmp_path):
    result = imported(tmp_path, HARNESS)
    rows = {r.capability: r for r in result.rows if r.model == "smol"}
    assert {name: r.value for name, r in rows.items()} == {
        "hellaswag_acc": 0.25, "hellaswag_acc_norm": 1 / 3, "gsm8k_5shot_exact_match_strict_match": 0.01,
        "gsm8k_5shot_exact_match_flexible_extract": 0.02, "wikitext_word_perplexity": 21.5,
        "wikitext_bits_per_byte": 0.9,
    }  # fmt: skip
    assert (rows["hellaswag_acc"].standard_error, rows["hellaswag_acc"].n) == (0.004, 10042)
    gsm8k = [rows[f"gsm8k_5shot_exact_match_{how}"] for how in ("strict_match", "flexible_extract")]
    assert all(math.isnan(one.standard_error) and one.n == 9 for one in gsm8k)
    assert [rows[f"wikitext_{m}"].higher_is_better for m in ("word_perplexity", "bits_per_byte")] == [False, False]
    assert (rows["hellaswag_acc"].unit, rows["wikitext_bits_per_byte"].unit) == ("accuracy", "bits/byte")
    assert "run on a part of the samples (--limit): gsm8k" in result.remarks[0]
    # Not the rows that are quantised, changed or untrained.
    assert {r.model for r in result.rows} == {"smol", "smol_old"}


def test_runs_that_ask_otherwise_are_other_capabilities(tmp_path):
    chat = {**HARNESS, "chat_template": "{{ messages }}", "versions": {"gsm8k": 2.0}}
    result = imported(tmp_path, [{**HARNESS, "versions": {"gsm8k": 3.0}}, chat])
    found = {r.capability for r in result.rows}
    assert {"gsm8k_5shot_exact_match_strict_match", "gsm8k_5shot_chat_exact_match_strict_match"} <= found
    assert any("gsm8k was run in versions 2.0, 3.0" in remark for remark in result.remarks)


def test_lm_eval_before_filters_had_names(tmp_path):
    old = {
        "results": {"hellaswag": {"acc": 0.3, "acc_stderr": 0.01, "acc_norm": 0.4, "acc_norm_stderr": 0.02},
                    "wikitext": {"word_perplexity": 30.0}, "odd": {"curiosity": 0.3}},
        "versions": {"hellaswag": 0},
        "config": {"model": "hf-causal", "model_args": "pretrained=HuggingFaceTB/SmolLM2-135M,dtype=bfloat16",
                   "num_fewshot": 10},
    }  # fmt: skip
    result = imported(tmp_path, old)
    rows = {r.capability: r for r in result.rows if r.model == "smol"}
    assert {name: (r.value, r.standard_error) for name, r in rows.items() if "hella" in name} == {
        "hellaswag_10shot_acc": (0.3, 0.01), "hellaswag_10shot_acc_norm": (0.4, 0.02),
    }  # fmt: skip
    assert rows["wikitext_10shot_word_perplexity"].higher_is_better is False
    assert "no file says whether more is better: curiosity" in result.remarks[0]
    first = {
        "config_general": {"model_name": "huggingfacetb/smollm2-135m"},
        "results": {"harness|arc:challenge|25": {"acc": 0.5, "acc_stderr": 0.01}, "harness|gsm8k|5": None,
                    "all": {"acc": 0.4}},
    }  # fmt: skip
    assert {r.capability for r in imported(tmp_path, first).rows} == {"arc_challenge_25shot_acc"}


def test_open_llm_leaderboard(tmp_path):
    result = imported(tmp_path, LEADERBOARD, "contents.csv")
    found = values(result)
    assert found["smol", "open_llm_v2_ifeval"] == pytest.approx(0.33)
    assert found["smol", "open_llm_v2_ifeval_raw"] == 0.33
    assert found["smol", "open_llm_v2_average"] == pytest.approx(0.088)
    assert found["smol", "open_llm_v2_math_lvl_5"] == pytest.approx(0.0083)
    # The run in 8 bits is of the row in 8 bits.
    assert found["smol_8bit", "open_llm_v2_ifeval_raw"] == 0.31
    first = (
        "T,Model,Average ⬆️,ARC,HellaSwag,MMLU,TruthfulQA,Winogrande,GSM8K,Type,Precision,Hub License\n"
        '🟢,"<a target=""_blank"" href=""https://huggingface.co/HuggingFaceTB/SmolLM2-135M"" style="""">x</a>",'
        "40.5,50,60,25,40,55,2.5,pretrained,torch.bfloat16,mit\n"
    )
    found = values(imported(tmp_path, first, "v1.csv"))
    assert found["smol", "open_llm_v1_hellaswag"] == 0.6
    assert found["smol", "open_llm_v1_average"] == 0.405


def test_the_leaderboard_as_rows_of_the_hub_and_as_parquet(tmp_path):
    import pandas as pd

    line = next(csv.DictReader(io.StringIO(LEADERBOARD)))
    numbers = {key: float(v) if key.endswith(("Raw", "IFEval", "BBH")) else v for key, v in line.items()}
    expected = values(imported(tmp_path, "\n".join(LEADERBOARD.splitlines()[:2]), "one.csv"))
    hub = {"features": [], "rows": [{"row_idx": 0, "row": numbers, "truncated_cells": []}]}
    assert values(imported(tmp_path, hub, "rows.json")) == expected
    pd.DataFrame([numbers]).to_parquet(tmp_path / "train.parquet")
    assert values(import_files([tmp_path / "train.parquet"], ZOO)) == expected


def test_contradicting_values_are_left_out_with_their_places(tmp_path):
    twice = LEADERBOARD + LEADERBOARD.splitlines()[1].replace("33.0", "34.0") + "\n"
    result = imported(tmp_path, twice, "contents.csv")
    assert ("smol", "open_llm_v2_ifeval") not in values(result)
    assert ("smol", "open_llm_v2_bbh") in values(result)
    assert "smol has several values of open_llm_v2_ifeval: 0.33 (" in result.several[0]
    assert "contents.csv, line 2), 0.34 (" in result.several[0]
    # A run in the row's precision goes before one in another.
    other = LEADERBOARD + LEADERBOARD.splitlines()[1].replace("bfloat16", "float16").replace("33.0", "34.0") + "\n"
    result = imported(tmp_path, other, "contents.csv")
    assert result.several
    assert all("smol_old" in line for line in result.several)  # in float32, so neither is its own
    assert values(result)["smol", "open_llm_v2_ifeval"] == pytest.approx(0.33)


def test_our_own_form_takes_ids_and_names(tmp_path):
    result = imported(tmp_path, OWN, "mine.csv")
    assert values(result)["smol", "arc"] == 0.5
    assert ("smol", "mmlu") in values(result)
    assert {r.source for r in result.rows} == {"paper", "mine"}
    assert {r.source for r in imported(tmp_path, OWN, "mine.csv", source="me").rows} == {"me"}
