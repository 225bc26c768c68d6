"""Published files for tests: one of each format, a small zoo, and how they are written and read."""

import json
import math

from zooalign.config.manifest import ModelSpec
from zooalign.published._importing import import_files


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


def run(dataset="vtab/caltech101", task="linear_probe", language="en", **metrics):
    return {"dataset": dataset, "model": "ViT-H-14", "pretrained": "laion2b_s32b_b79k", "task": task,
            "metrics": metrics, "language": language}  # fmt: skip
