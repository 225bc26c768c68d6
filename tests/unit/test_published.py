"""Published results: each format in its forms, models matched with rows, what is broken in one message."""

import copy
import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from zooalign.cli.main import app
from zooalign.config.external import read_external
from zooalign.config.manifest import ModelSpec, read_zoo
from zooalign.config.sweep import load_sweep
from zooalign.errors import ConfigError
from zooalign.published._importing import import_files, recognised, to_csv
from zooalign.published._matching import Zoo
from zooalign.published._open_clip_models import MODELS, names_of
from zooalign.published._results import Published, clip
from zooalign.registry import plugin, plugin_names


def row(name, modality="vision", **keys):
    causal = modality == "language"
    usual = {
        "objective": "causal" if causal else "contrastive", "causal": causal, "pooling": "mean", "parameters": 1,
        "source": "transformers" if causal else "timm", "family": "f", "licence": "l",
    }  # fmt: skip
    return ModelSpec(id=name, modality=modality, **{**usual, **keys})


def timm(name, **keys):
    return row(name.replace(".", "_"), options={"name": name}, **keys)


ZOO = [
    timm("vit_base_patch32_clip_224.openai"),
    timm("vit_base_patch32_clip_224.laion400m_e32"),
    timm("vit_base_patch32_clip_quickgelu_224.laion400m_e32"),
    timm("vit_large_patch14_clip_224.laion2b"),
    timm("vit_huge_patch14_clip_224.laion2b"),
    timm("vit_huge_patch14_clip_224.laion2b_ft_in12k"),
    timm("resnet50_clip.openai"),
    row("clip_b32_hub", source="transformers_vision", options={"hub_id": "openai/clip-vit-base-patch32"}),
    row("text_b32", "language", causal=False, objective="contrastive",
        options={"hub_id": "openai/clip-vit-base-patch32"}),
    row("smol", "language", options={"hub_id": "HuggingFaceTB/SmolLM2-135M"}, precision="bfloat16"),
    row("smol_8bit", "language", options={"hub_id": "HuggingFaceTB/SmolLM2-135M", "quantisation": "8bit"}),
    row("smol_noise", "language", options={"hub_id": "HuggingFaceTB/SmolLM2-135M"}, variant_of="smol",
        intervention={"weight_noise": 0.1}),
    row("smol_old", "language", options={"hub_id": "HuggingFaceTB/SmolLM2-135M", "revision": "a" * 40}),
    row("smol_random", "language", objective="random", options={"hub_id": "HuggingFaceTB/SmolLM2-135M"}),
    row("bert", "language", causal=False, objective="masked", options={"hub_id": "google/bert"}),
]  # fmt: skip


def write(folder, content, name="results.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def imported(folder, content, name="results.json", **how):
    return import_files([write(folder, content, name)], ZOO, **how)


def values(result):
    return {(r.model, r.capability): r.value for r in result.rows}


# --- formats -------------------------------------------------------------------------------------------------------

# Columns and figures of docs/openclip_results.csv (mlfoundations/open_clip), a few of them.
OPEN_CLIP = """\
name,pretrained,params (M),FLOPs (B),Average perf. on 38 datasets,ImageNet 1k,Caltech-101,MSCOCO
ViT-H-14,laion2b_s32b_b79k,986.11,381.68,0.6419,0.7796,0.9421,0.5770
ViT-B-32,openai,151.28,14.78,0.5245,0.6332,0.8758,0.4028
ViT-B-32-quickgelu,openai,151.28,14.78,0.5245,0.6332,0.8758,0.4028
ViT-B-32-quickgelu,laion400m_e32,151.28,14.78,0.5272,0.6293,0.9118,
ViT-B-32,laion400m_e32,151.28,14.78,0.5074,0.6024,0.8918,0.4337
nllb-clip-base,v1,501.89,369.6,0.3351,0.2432,0.5914,0.2
"""
# CLIP_benchmark's means over VTAB of linear probes (LAION-AI/CLIP_benchmark, scaling_experiment_data_vtab.json).
VTAB = [
    {"dataset": "vtab", "lp_acc1": 0.6971394911855741, "fewshot_k": -1, "model": "ViT-B-32", "pretrained": "openai"},
    {"dataset": "vtab", "lp_acc1": 0.7596462313700938, "fewshot_k": -1, "model": "ViT-H-14",
     "pretrained": "laion2b_s32b_b79k"},
    {"dataset": "vtab", "lp_acc1": 0.744758325311516, "fewshot_k": -1, "model": "ViT-L-14",
     "pretrained": "laion2b_s32b_b82k"},
]  # fmt: skip
# What lm_eval 0.4.13 wrote of a run, shortened.
HARNESS = {
    "results": {
        "hellaswag": {
            "name": "hellaswag", "alias": "hellaswag", "sample_len": 10042, "acc,none": 0.25,
            "acc_stderr,none": 0.004, "acc_norm,none": 1 / 3, "acc_norm_stderr,none": 0.0047,
        },
        "gsm8k": {
            "alias": "gsm8k", "exact_match,strict-match": 0.01, "exact_match_stderr,strict-match": "N/A",
            "exact_match,flexible-extract": 0.02, "exact_match_stderr,flexible-extract": math.nan,
        },
        "wikitext": {"word_perplexity,none": 21.5, "word_perplexity_stderr,none": "N/A", "bits_per_byte,none": 0.9},
    },
    "n-shot": {"hellaswag": 0, "gsm8k": 5, "wikitext": 0},
    "higher_is_better": {"hellaswag": {"acc": True, "acc_norm": True}, "wikitext": {"word_perplexity": False}},
    "n-samples": {"hellaswag": {"original": 10042, "effective": 10042}, "gsm8k": {"original": 1319, "effective": 9}},
    "config": {"model": "hf", "model_args": {"pretrained": "HuggingFaceTB/SmolLM2-135M", "dtype": "bfloat16"}},
    "model_name": "HuggingFaceTB/SmolLM2-135M",
}  # fmt: skip
LEADERBOARD = """\
,eval_name,Precision,Model,fullname,Model sha,Average ⬆️,IFEval Raw,IFEval,BBH,MATH Lvl 5,GPQA,MUSR,MMLU-PRO
0,a,bfloat16,"<a href=""https://huggingface.co/x/y"">x/y</a>",HuggingFaceTB/SmolLM2-135M,abc,8.8,0.33,33.0,10,0.83,1,5,1.8
1,b,8bit,"<a href=""https://huggingface.co/x/y"">x/y</a>",HuggingFaceTB/SmolLM2-135M,abc,7.8,0.31,31.0,10,0.83,1,5,1.8
"""
OWN = "model,capability,value,source\nsmol,arc,0.5,paper\nHuggingFaceTB/SmolLM2-135M,mmlu,0.4,\n"

EXAMPLES = {
    "open_clip": (OPEN_CLIP, "results.csv"),
    "clip_benchmark": (VTAB, "results.json"),
    "lm_eval": (HARNESS, "results.json"),
    "open_llm_leaderboard": (LEADERBOARD, "results.csv"),
    "external": (OWN, "mine.csv"),
}


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


def run(dataset="vtab/caltech101", task="linear_probe", language="en", **metrics):
    return {"dataset": dataset, "model": "ViT-H-14", "pretrained": "laion2b_s32b_b79k", "task": task,
            "metrics": metrics, "language": language}  # fmt: skip


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
    seeds = [run(lp_acc1=a, lr=0.1, seed=s) for a, s in ((0.6, 0), (0.7, 1))]
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


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ("pretrained=HuggingFaceTB/SmolLM2-135M", {"smol": ""}),
        ("pretrained=HuggingFaceTB/SmolLM2-135M,dtype=float16",
         {"smol": "published in float16, the row has bfloat16"}),
        ("pretrained=HuggingFaceTB/SmolLM2-135M,revision=main", {"smol": ""}),
        ("pretrained=HuggingFaceTB/SmolLM2-135M,revision=step1000", {}),
        (f"pretrained=HuggingFaceTB/SmolLM2-135M,revision={'b' * 40}",
         {"smol": "published for commit bbbbbbbb, the row takes the newest"}),
        ("pretrained=HuggingFaceTB/SmolLM2-135M,load_in_8bit=True", {"smol_8bit": ""}),
        ("pretrained=HuggingFaceTB/SmolLM2-135M,load_in_4bit=True", {}),
        ("pretrained=HuggingFaceTB/SmolLM2-135M,peft=me/adapter", {}),
        ("pretrained=google/bert", {}),
        ("pretrained=openai/clip-vit-base-patch32", {}),
        ("pretrained=vit_huge_patch14_clip_224_laion2b", {}),
    ],
)  # fmt: skip
def test_a_run_is_a_causal_row_whose_weights_it_ran(tmp_path, arguments, rows):
    content = {"results": {"arc": {"acc,none": 0.5}}, "config": {"model_args": arguments}}
    result = imported(tmp_path, content)
    # A row of a commit of its own is checked below.
    fits = {f.row: f.but for found in result.matched.values() for f in found if f.row != "smol_old"}
    assert fits == rows
    assert bool(result.unmatched) != bool(result.matched)


def test_a_row_with_a_commit_is_the_run_of_that_commit():
    zoo = Zoo(ZOO)
    at = {r: {f.row for f in zoo.match(Published("HuggingFaceTB/SmolLM2-135M", "language", revision=r))}
          for r in ("a" * 40, "b" * 40)}  # fmt: skip
    assert "smol_old" in at["a" * 40]
    assert "smol_old" not in at["b" * 40]


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


# --- models --------------------------------------------------------------------------------------------------------


def test_names_of_open_clip_are_names_of_timm():
    """timm itself knows every name of the table, also those with the other activation that a match may meet."""
    from zooalign.sources._torchvision import import_timm

    known = set(import_timm().list_models(pretrained=True))
    assert {names[0] for names in MODELS.values()} <= known
    assert len({names[0] for names in MODELS.values()}) == len(MODELS)
    hubs = [name.lower() for names in MODELS.values() for name in names[1:]]
    assert len(set(hubs)) == len(hubs)


@pytest.mark.parametrize(
    ("architecture", "tag", "expected"),
    [
        ("ViT-B-32", "openai", "vit_base_patch32_clip_224.openai"),
        ("ViT-L-14", "laion2b_s32b_b82k", "vit_large_patch14_clip_224.laion2b"),
        ("ViT-H-14", "laion2b-s32b-b79k", "vit_huge_patch14_clip_224.laion2b"),
        ("ViT-B-16-quickgelu", "metaclip_fullcc", "vit_base_patch16_clip_224.metaclip_2pt5b"),
        ("ViT-SO400M-14-SigLIP-384", "webli", "vit_so400m_patch14_siglip_384.webli"),
        ("convnext_base_w", "laion2b_s13b_b82k", "convnext_base.clip_laion2b"),
    ],
)
def test_a_model_of_open_clip_is_called_otherwise_in_timm(architecture, tag, expected):
    model = clip(architecture, tag, "")
    names = names_of(model.architecture, model.tag)
    assert names is not None
    assert expected in names.timm
    assert names_of(architecture, "none") is None


def test_rows_of_the_zoo_are_found_by_every_name_of_theirs():
    models = read_zoo(["vision78"], Path)
    zoo = Zoo(models)
    by_timm = {spec.options["name"]: spec.id for spec in models if spec.source == "timm" and not spec.control}
    pairs = {names[0]: pair for pair, names in MODELS.items()}
    matched = [name for name in by_timm if name in pairs]
    assert len(matched) >= 10
    for name in matched:
        architecture, tag = pairs[name]
        fits = zoo.match(Published("", "vision", architecture, tag))
        assert [fit.row for fit in fits] == [by_timm[name]]
        assert [f.row for f in zoo.match(Published(f"timm/{name}", "vision"))] == [by_timm[name]]
    fine_tuned = {by_timm[name] for name in by_timm if "_ft_" in name}
    assert fine_tuned
    everything = [f.row for pair in MODELS for f in zoo.match(Published("", "vision", *pair))]
    assert not fine_tuned & set(everything)


def test_what_is_not_in_the_zoo_is_listed_with_what_is_near():
    near = Zoo(ZOO).nearest(Published("HuggingFaceTB/SmolLM2-360M", "language"))
    assert near[0].startswith("smol")
    # Another checkpoint of an architecture in the zoo.
    assert Zoo(ZOO).nearest(clip("ViT-B-32", "laion2b_e16", ""))[0].startswith("vit_base_patch32_clip")
    assert Zoo(ZOO).nearest(Published("zzz", "vision")) == []


# --- what is broken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "", r"x\.json: is empty"),
        ("x.csv", "", r"x\.csv: is empty"),
        ("x.csv", OPEN_CLIP.splitlines()[0] + "\n", r"x\.csv: is empty"),
        ("x.json", "[]", r"x\.json: is empty"),
        ("x.json", '{"results": {"a": ', r"x\.json: not valid JSON .*cut off"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', r"x\.jsonl, line 2: not valid JSON"),
        ("x.json", "[" * 100_000, r"x\.json: lists or objects lie too deep"),
        ("x.json", '{"a": ' * 100_000, r"x\.json: lists or objects lie too deep"),
        ("x.json", f'{{"a": {"1" * 5000}}}', r"x\.json: not valid JSON"),
        ("x.json", '{"a": 1, "a": 2}', r"x\.json: the key 'a' occurs twice"),
        ("x.json", "[1]", r"x\.json, item 1: is '1', not an object"),
        ("x.json", "7", r"x\.json: holds '7'"),
        ("x.json", '{"weights": 1}', r"x\.json: is not a format that is known \(clip_benchmark, .*it has 'weights'"),
        ("x.csv", "a,a\n1,2\n", r"x\.csv: column 'a' occurs twice"),
        ("x.csv", OPEN_CLIP + "ViT-B-32,openai,1\n", r"x\.csv, line 8: 3 fields, the header has 8"),
        ("x.csv", OPEN_CLIP + "ViT,o" + ",1" * 7 + "\n", r"x\.csv, line 8: has more fields"),
        ("x.csv", OPEN_CLIP.replace("0.7796", "77.96"), r"line 2: column 'ImageNet 1k' is 77\.96, not between"),
        ("x.csv", OPEN_CLIP.replace("0.7796", "nan"), r"line 2: column 'ImageNet 1k' is 'nan', not a finite number"),
        ("x.csv", LEADERBOARD.replace(",33.0,", ",133.0,"), r"line 2: column 'IFEval' is 133, not between 0 and 100"),
        ("x.csv", LEADERBOARD.replace(",33.0,", ",-3,"), r"line 2: column 'IFEval' is -3, not between 0 and 100"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": 1.5}}}, "'acc,none' of 'arc' is 1.5, not between"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": math.nan}}}, "of 'arc' is 'nan', not a finite"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": 10**400}}}, "of 'arc' is '1000.*not a finite"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": 0.5, "acc_stderr,none": -1}}}, "cannot be negative"),
        ("x.json", {**HARNESS, "results": [1]}, r"x\.json: results is a list, not an object"),
        ("x.json", {**HARNESS, "results": {"arc": 3}}, "results of 'arc' is '3', not an object"),
        ("x.json", {"results": {}, "config": {"model_args": "dtype=auto"}}, "does not say which model it is of"),
        ("x.json", run(task="captioning", acc1=0.5), r"x\.json: the task 'captioning' is unknown \(linear_probe"),
        ("x.json", {**run(lp_acc1=0.5), "dataset": ""}, "the dataset is missing"),
        ("x.json", {**run(lp_acc1=0.5), "model": 3}, "model is '3', not the name"),
        ("x.json", run(lp_acc1="high"), "lp_acc1 is 'high', not a finite number"),
        ("x.json", [run(lp_acc1=0.5), {"other": 1}], r"x\.json, item 2: is not clip_benchmark, as the first is"),
        ("x.parquet", "PAR1 not", r"x\.parquet: cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_place(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message) as error:
        imported(tmp_path, content, name)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_and_formats_that_do_not_fit(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"name,pretrained\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"x\.csv: cannot be read as UTF-8"):
        import_files([tmp_path / "x.csv"], ZOO)
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        import_files([tmp_path / "none.json"], ZOO)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: no \.json files"):
        import_files([tmp_path / "empty"], ZOO)
    with pytest.raises(ConfigError, match="unknown format 'openclip': did you mean 'open_clip'"):
        imported(tmp_path, OPEN_CLIP, "y.csv", form="openclip")
    with pytest.raises(ConfigError, match=r"y\.csv: is not lm_eval; it has 'name', 'pretrained'"):
        imported(tmp_path, OPEN_CLIP, "y.csv", form="lm_eval")
    assert recognised({"name", "colour"}) is None
    with pytest.raises(ConfigError, match="line 2: unknown column 'values': did you mean 'value'"):
        imported(tmp_path, OWN.replace("value", "values"), "mine.csv")


@pytest.mark.parametrize("depth", [10, 300, 900, 950, 970, 980, 985, 990, 995, 2000])
@pytest.mark.parametrize(
    "part", ['{"model_name": "m", "results": ', "[", '{"dataset": "d", "model_fullname": "m p", "metrics": ']
)
def test_what_lies_deep_gives_a_message_or_nothing(tmp_path, depth, part):
    text = part * depth + "1" + {"[": "]"}.get(part, "}") * depth
    try:
        result = imported(tmp_path, text, "x.json")
    except ConfigError as error:
        assert "x.json" in str(error)  # noqa: PT017
    else:
        assert result.rows == []
        assert "no metric that is read here" in result.remarks[0]


JUNK = [None, True, -1, 0.5, 10**30, 1e400, math.nan, "", "x", "\x1b[2J", [], [1], {}, {"a": {}}, "N/A", "0.5"]


def places(value, here=()):
    """Where something stands inside a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, inner in inside for place in places(inner, (*here, key)))]


@given(data=st.data(), name=st.sampled_from(["clip_benchmark", "lm_eval", "open_llm_leaderboard", "runs"]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_file_is_read_or_refused_in_one_line(tmp_path, data, name):
    rows = list(csv.DictReader(io.StringIO(LEADERBOARD)))
    content = {"open_llm_leaderboard": rows, "runs": [run(lp_acc1=0.5, acc5=0.9, fewshot_k=3)]}.get(name)
    content = copy.deepcopy(content or EXAMPLES[name][0])
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from([place for place in places(content) if place]))
        inner = content
        for part in above:
            inner = inner[part]
        if data.draw(st.booleans()):
            inner[key] = data.draw(st.sampled_from(JUNK))
        elif isinstance(inner, dict):
            inner[data.draw(st.sampled_from(["", "acc,none", "acc1", "Average", "dataset"]))] = inner.pop(key)
        if not content:
            return
    try:
        result = imported(tmp_path, content)
    except ConfigError as error:
        assert "results.json" in str(error)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert all(math.isfinite(r.value) and r.capability for r in result.rows)
        assert all(0 <= r.value <= 1 for r in result.rows if r.unit == "accuracy")


@given(data=st.data(), name=st.sampled_from(["open_clip", "open_llm_leaderboard", "external"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_in_a_table_is_read_or_refused_in_one_line(tmp_path, data, name):
    text = EXAMPLES[name][0]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    part = data.draw(st.sampled_from(["", '"', ",", "\n", "nan", "1e999", "-1", "\x1b", '""', "x,x"]))
    try:
        result = imported(tmp_path, text[:start] + part + text[end:], "x.csv")
    except ConfigError as error:
        assert "x.csv" in str(error)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert all(math.isfinite(r.value) and r.capability for r in result.rows)


def test_names_of_others_cannot_steer_the_terminal(tmp_path):
    path = write(tmp_path, OPEN_CLIP.replace("nllb-clip-base,v1", "[/red]\x1b[2Jevil,[v1"), "x.csv")
    shown = command(path)
    assert shown.exit_code == 0, shown.exception
    assert "not in the zoo: [/red]\N{REPLACEMENT CHARACTER}[2Jevil, [v1" in shown.output


# --- the command and the configuration -----------------------------------------------------------------------------


def command(*arguments):
    result = CliRunner().invoke(app, ["capability", "import", *map(str, arguments), "--zoo", "vision78"])
    return result


def test_the_command_shows_and_writes(tmp_path):
    path = write(tmp_path, OPEN_CLIP, "openclip_results.csv")
    out = tmp_path / "out.csv"
    shown = command(path)
    assert shown.exit_code == 0, shown.output
    assert "vit_huge_patch14_clip_224_laion2b" in shown.output
    assert "not in the zoo: nllb-clip-base, v1" in shown.output
    assert not out.exists()
    written = command(path, "--output", out)
    assert f"external: [{out}]" in written.output
    assert "capability_sources: [measured, open_clip]" in written.output
    before = out.read_bytes()
    refused = command(path, "--output", out)
    assert isinstance(refused.exception, ConfigError)
    assert "--force" in str(refused.exception)
    assert out.read_bytes() == before
    assert command(path, "--output", out, "--source", "them", "--force").exit_code == 0
    assert {r["source"] for r in csv.DictReader(out.open())} == {"them"}
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []


def test_the_command_writes_nothing_when_nothing_matches(tmp_path):
    path = write(tmp_path, HARNESS)
    result = command(path, "--output", tmp_path / "out.csv")
    assert "no model of the zoo is among those published" in str(result.exception)
    assert "not in the zoo: HuggingFaceTB/SmolLM2-135M" in result.output
    assert not (tmp_path / "out.csv").exists()
    limited = command(write(tmp_path, OPEN_CLIP, "x.csv"), "--limit", 1)
    assert "--limit 0 lists all" in limited.output


def test_a_configuration_may_name_a_published_file(tmp_path):
    path = write(tmp_path, OPEN_CLIP, "openclip_results.csv")
    config = {
        "zoo": ["paper-vits"], "datasets": ["emoji"], "metrics": {"mutual_knn": {"k": [10]}},
        "headline": {"capability": "open_clip_imagenet_1k"}, "external": [str(path)],
    }  # fmt: skip
    external = load_sweep(config, [tmp_path, "."]).external
    assert {(e.model, e.source) for e in external} == {("vit_huge_patch14_clip_224_laion2b", "open_clip")}
    twice = OPEN_CLIP + OPEN_CLIP.splitlines()[1].replace("0.7796", "0.7") + "\n"
    write(tmp_path, twice, "openclip_results.csv")
    with pytest.raises(ConfigError, match=r"several values of open_clip_imagenet_1k.*capability import.*--output"):
        load_sweep(config, [tmp_path, "."])
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"odd\.json: is not a format that is known"):
        load_sweep({**config, "external": ["odd.json"]}, [tmp_path, "."])
