"""Published models: which rows of the zoo they are, and what is near."""

from pathlib import Path

import pytest

from tests.unit.published_files import (
    ZOO,
    imported,
)
from zooalign.config.manifest import read_zoo
from zooalign.published._matching import Zoo
from zooalign.published._open_clip_models import MODELS, names_of
from zooalign.published._results import Published, clip


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


def test_names_of_open_clip_are_names_of_timm():
    """timm itself knows every name of the table, and says of the same weights that they are QuickGELU's."""
    from zooalign.sources._torchvision import import_timm

    timm = import_timm()
    known = set(timm.list_models(pretrained=True))
    for (architecture, tag), weights in MODELS.items():
        assert weights.timm in known
        assert set(names_of(architecture, tag).timm) & known
        notes = " ".join(timm.get_pretrained_cfg(weights.timm).notes or ())
        is_vit = weights.timm.startswith("vit_")
        assert ("natively QuickGELU" in notes) == (is_vit and (weights.quick or tag == "openai")), weights
    assert len({weights.timm for weights in MODELS.values()}) == len(MODELS)
    hubs = [weights.hub.lower() for weights in MODELS.values() if weights.hub]
    assert len(set(hubs)) == len(hubs)


def test_another_activation_than_the_published_one_is_told():
    zoo = Zoo(ZOO)
    expected = {"vit_base_patch32_clip_224_openai": "published with QuickGELU, the row has GELU", "clip_b32_hub": ""}
    for name in ("ViT-B-32", "ViT-B-32-quickgelu"):
        assert {fit.row: fit.but for fit in zoo.match(clip(name, "openai", ""))} == expected
    plain = {fit.row: fit.but for fit in zoo.match(clip("ViT-B-32", "laion400m_e32", ""))}
    assert plain == {
        "vit_base_patch32_clip_224_laion400m_e32": "",
        "vit_base_patch32_clip_quickgelu_224_laion400m_e32": "published with GELU, the row has QuickGELU",
    }
    # A repository has the activation that its weights were trained with.
    assert names_of("facebook/metaclip-b32-400m", "").timm[0] == "vit_base_patch32_clip_quickgelu_224.metaclip_400m"
    # Residual networks have none of the two.
    assert [fit.but for fit in zoo.match(clip("RN50-quickgelu", "openai", ""))] == [""]


def test_a_repository_of_open_clip_is_the_tower_in_timm():
    fits = Zoo(ZOO).match(clip("hf-hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "", ""))
    assert [(fit.row, fit.but) for fit in fits] == [("vit_huge_patch14_clip_224_laion2b", "")]
    # Of a language model's results none, though it is the same repository.
    assert Zoo(ZOO).match(Published("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "language")) == []


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
    pairs = {weights.timm: pair for pair, weights in MODELS.items()}
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
