"""open_clip's models by architecture and tag, and what the same weights are called in timm and on the hub.

timm's names are those of the image towers. Sources: the `hf_hub` of open_clip's `pretrained.py`, and the `hf_hub_id`
that timm's configurations had before the weights were copied to its own repositories (for EVA, its comments).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_QUICK = "-quickgelu"
# Architecture with the activation that it was trained with, tag, name in timm, repository on the hub if there is one.
_TABLE = """
RN50 openai resnet50_clip.openai
RN50 yfcc15m resnet50_clip.yfcc15m
RN50 cc12m resnet50_clip.cc12m
RN101 openai resnet101_clip.openai
RN101 yfcc15m resnet101_clip.yfcc15m
RN50x4 openai resnet50x4_clip.openai
RN50x16 openai resnet50x16_clip.openai
RN50x64 openai resnet50x64_clip.openai
ViT-B-32 openai vit_base_patch32_clip_224.openai openai/clip-vit-base-patch32
ViT-B-32-quickgelu laion400m_e32 vit_base_patch32_clip_224.laion400m_e32
ViT-B-32 laion2b_s34b_b79k vit_base_patch32_clip_224.laion2b laion/CLIP-ViT-B-32-laion2B-s34B-b79K
ViT-B-32 datacomp_xl_s13b_b90k vit_base_patch32_clip_224.datacompxl laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K
ViT-B-32-quickgelu metaclip_400m vit_base_patch32_clip_224.metaclip_400m facebook/metaclip-b32-400m
ViT-B-32-quickgelu metaclip_fullcc vit_base_patch32_clip_224.metaclip_2pt5b facebook/metaclip-b32-fullcc2.5b
ViT-B-32-256 datacomp_s34b_b86k vit_base_patch32_clip_256.datacompxl laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K
ViT-B-16 openai vit_base_patch16_clip_224.openai openai/clip-vit-base-patch16
ViT-B-16 laion400m_e32 vit_base_patch16_clip_224.laion400m_e32
ViT-B-16 laion2b_s34b_b88k vit_base_patch16_clip_224.laion2b laion/CLIP-ViT-B-16-laion2B-s34B-b88K
ViT-B-16 datacomp_xl_s13b_b90k vit_base_patch16_clip_224.datacompxl laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K
ViT-B-16 dfn2b vit_base_patch16_clip_224.dfn2b apple/DFN2B-CLIP-ViT-B-16
ViT-B-16-quickgelu metaclip_400m vit_base_patch16_clip_224.metaclip_400m facebook/metaclip-b16-400m
ViT-B-16-quickgelu metaclip_fullcc vit_base_patch16_clip_224.metaclip_2pt5b facebook/metaclip-b16-fullcc2.5b
ViT-B-16-plus-240 laion400m_e32 vit_base_patch16_plus_clip_240.laion400m_e32
ViT-L-14 openai vit_large_patch14_clip_224.openai openai/clip-vit-large-patch14
ViT-L-14 laion400m_e32 vit_large_patch14_clip_224.laion400m_e32
ViT-L-14 laion2b_s32b_b82k vit_large_patch14_clip_224.laion2b laion/CLIP-ViT-L-14-laion2B-s32B-b82K
ViT-L-14 datacomp_xl_s13b_b90k vit_large_patch14_clip_224.datacompxl laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K
ViT-L-14-quickgelu dfn2b vit_large_patch14_clip_224.dfn2b apple/DFN2B-CLIP-ViT-L-14
ViT-L-14 dfn2b_s39b vit_large_patch14_clip_224.dfn2b_s39b apple/DFN2B-CLIP-ViT-L-14-39B
ViT-L-14-quickgelu metaclip_400m vit_large_patch14_clip_224.metaclip_400m facebook/metaclip-l14-400m
ViT-L-14-quickgelu metaclip_fullcc vit_large_patch14_clip_224.metaclip_2pt5b facebook/metaclip-l14-fullcc2.5b
ViT-L-14-336 openai vit_large_patch14_clip_336.openai openai/clip-vit-large-patch14-336
ViT-H-14 laion2b_s32b_b79k vit_huge_patch14_clip_224.laion2b laion/CLIP-ViT-H-14-laion2B-s32B-b79K
ViT-H-14-quickgelu metaclip_fullcc vit_huge_patch14_clip_224.metaclip_2pt5b facebook/metaclip-h14-fullcc2.5b
ViT-H-14 metaclip_altogether vit_huge_patch14_clip_224.metaclip_altogether
ViT-H-14-quickgelu dfn5b vit_huge_patch14_clip_224.dfn5b apple/DFN5B-CLIP-ViT-H-14
ViT-H-14-378-quickgelu dfn5b vit_huge_patch14_clip_378.dfn5b apple/DFN5B-CLIP-ViT-H-14-378
ViT-g-14 laion2b_s12b_b42k vit_giant_patch14_clip_224.laion2b laion/CLIP-ViT-g-14-laion2B-s12B-b42K
ViT-bigG-14 laion2b_s39b_b160k vit_gigantic_patch14_clip_224.laion2b laion/CLIP-ViT-bigG-14-laion2B-39B-b160k
ViT-bigG-14-quickgelu metaclip_fullcc vit_gigantic_patch14_clip_224.metaclip_2pt5b
convnext_base_w laion2b_s13b_b82k convnext_base.clip_laion2b laion/CLIP-convnext_base_w-laion2B-s13B-b82K
convnext_base_w laion2b_s13b_b82k_augreg convnext_base.clip_laion2b_augreg
  laion/CLIP-convnext_base_w-laion2B-s13B-b82K-augreg
convnext_base_w laion_aesthetic_s13b_b82k convnext_base.clip_laiona
  laion/CLIP-convnext_base_w-laion_aesthetic-s13B-b82K
convnext_base_w_320 laion_aesthetic_s13b_b82k convnext_base.clip_laiona_320
  laion/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K
convnext_base_w_320 laion_aesthetic_s13b_b82k_augreg convnext_base.clip_laiona_augreg_320
  laion/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K-augreg
convnext_large_d laion2b_s26b_b102k_augreg convnext_large_mlp.clip_laion2b_augreg
  laion/CLIP-convnext_large_d.laion2B-s26B-b102K-augreg
convnext_large_d_320 laion2b_s29b_b131k_ft convnext_large_mlp.clip_laion2b_ft_320
  laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft
convnext_large_d_320 laion2b_s29b_b131k_ft_soup convnext_large_mlp.clip_laion2b_ft_soup_320
  laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup
convnext_xxlarge laion2b_s34b_b82k_augreg_rewind convnext_xxlarge.clip_laion2b_rewind
  laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-rewind
convnext_xxlarge laion2b_s34b_b82k_augreg_soup convnext_xxlarge.clip_laion2b_soup
  laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup
EVA01-g-14 laion400m_s11b_b41k eva_giant_patch14_clip_224.laion400m
  timm/eva_giant_patch14_clip_224.laion400m_s11b_b41k
EVA01-g-14-plus merged2b_s11b_b114k eva_giant_patch14_clip_224.merged2b
  timm/eva_giant_patch14_plus_clip_224.merged2b_s11b_b114k
EVA02-B-16 merged2b_s8b_b131k eva02_base_patch16_clip_224.merged2b timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k
EVA02-L-14 merged2b_s4b_b131k eva02_large_patch14_clip_224.merged2b
  timm/eva02_large_patch14_clip_224.merged2b_s4b_b131k
EVA02-L-14-336 merged2b_s6b_b61k eva02_large_patch14_clip_336.merged2b
  timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k
EVA02-E-14 laion2b_s4b_b115k eva02_enormous_patch14_clip_224.laion2b
  timm/eva02_enormous_patch14_clip_224.laion2b_s4b_b115k
EVA02-E-14-plus laion2b_s9b_b144k eva02_enormous_patch14_clip_224.laion2b_plus
  timm/eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k
ViT-B-16-SigLIP webli vit_base_patch16_siglip_224.webli google/siglip-base-patch16-224
ViT-B-16-SigLIP-256 webli vit_base_patch16_siglip_256.webli google/siglip-base-patch16-256
ViT-B-16-SigLIP-i18n-256 webli vit_base_patch16_siglip_256.webli_i18n google/siglip-base-patch16-256-multilingual
ViT-B-16-SigLIP-384 webli vit_base_patch16_siglip_384.webli google/siglip-base-patch16-384
ViT-B-16-SigLIP-512 webli vit_base_patch16_siglip_512.webli google/siglip-base-patch16-512
ViT-L-16-SigLIP-256 webli vit_large_patch16_siglip_256.webli google/siglip-large-patch16-256
ViT-L-16-SigLIP-384 webli vit_large_patch16_siglip_384.webli google/siglip-large-patch16-384
ViT-SO400M-14-SigLIP webli vit_so400m_patch14_siglip_224.webli google/siglip-so400m-patch14-224
ViT-SO400M-14-SigLIP-384 webli vit_so400m_patch14_siglip_384.webli google/siglip-so400m-patch14-384
ViT-B-32-SigLIP2-256 webli vit_base_patch32_siglip_256.v2_webli google/siglip2-base-patch32-256
ViT-B-16-SigLIP2 webli vit_base_patch16_siglip_224.v2_webli google/siglip2-base-patch16-224
ViT-B-16-SigLIP2-256 webli vit_base_patch16_siglip_256.v2_webli google/siglip2-base-patch16-256
ViT-B-16-SigLIP2-384 webli vit_base_patch16_siglip_384.v2_webli google/siglip2-base-patch16-384
ViT-B-16-SigLIP2-512 webli vit_base_patch16_siglip_512.v2_webli google/siglip2-base-patch16-512
ViT-L-16-SigLIP2-256 webli vit_large_patch16_siglip_256.v2_webli google/siglip2-large-patch16-256
ViT-L-16-SigLIP2-384 webli vit_large_patch16_siglip_384.v2_webli google/siglip2-large-patch16-384
ViT-L-16-SigLIP2-512 webli vit_large_patch16_siglip_512.v2_webli google/siglip2-large-patch16-512
ViT-SO400M-14-SigLIP2 webli vit_so400m_patch14_siglip_224.v2_webli google/siglip2-so400m-patch14-224
ViT-SO400M-14-SigLIP2-378 webli vit_so400m_patch14_siglip_378.v2_webli google/siglip2-so400m-patch14-384
ViT-SO400M-16-SigLIP2-256 webli vit_so400m_patch16_siglip_256.v2_webli google/siglip2-so400m-patch16-256
ViT-SO400M-16-SigLIP2-384 webli vit_so400m_patch16_siglip_384.v2_webli google/siglip2-so400m-patch16-384
ViT-SO400M-16-SigLIP2-512 webli vit_so400m_patch16_siglip_512.v2_webli google/siglip2-so400m-patch16-512
"""


class Weights(NamedTuple):
    """Weights of an image tower that open_clip publishes.

    Attributes
    ----------
    timm : str
        Their name in timm.
    hub : str
        Their repository on the hub, empty where there is none.
    quick : bool
        Whether they were trained with QuickGELU.
    """

    timm: str
    hub: str
    quick: bool


class Names(NamedTuple):
    """What the image tower of a published model is called elsewhere.

    Attributes
    ----------
    timm : tuple of str
        With the activation of the published run first, where timm has the tower with both.
    hub : str
        Repository, empty where there is none.
    """

    timm: tuple[str, ...]
    hub: str


# By architecture in lower case, whatever its activation, and tag.
MODELS = {
    (architecture.removesuffix(_QUICK).lower(), tag): Weights(timm, "".join(hub), architecture.endswith(_QUICK))
    for line in re.split(r"\n(?! )", _TABLE.strip())
    for architecture, tag, timm, *hub in [line.split()]
}
_HUB = {weights.hub.lower(): pair for pair, weights in MODELS.items() if weights.hub}


def names_of(architecture: str, tag: str) -> Names | None:
    """Names of a model of open_clip; None for one that is not in the table.

    Parameters
    ----------
    architecture : str
        As open_clip has it, or a repository of the hub (then the tag is empty).
    tag : str
        Of the weights, as open_clip cleans it.

    Examples
    --------
    >>> names_of("ViT-B-32", "openai").timm
    ('vit_base_patch32_clip_quickgelu_224.openai', 'vit_base_patch32_clip_224.openai')
    >>> names_of("ViT-H-14", "laion2b_s32b_b79k").hub
    'laion/CLIP-ViT-H-14-laion2B-s32B-b79K'
    >>> names_of("apple/DFN2B-CLIP-ViT-B-16", "").timm[0]
    'vit_base_patch16_clip_224.dfn2b'
    """
    pair = _HUB.get(architecture.lower()) or (architecture.removesuffix(_QUICK).lower(), tag)
    weights = MODELS.get(pair)
    if weights is None:
        return None
    # open_clip runs OpenAI's weights with QuickGELU, whatever the architecture is called.
    quick = pair[1] == "openai" or (architecture.endswith(_QUICK) if tag else weights.quick)
    timm = weights.timm
    both = (timm.replace("_clip_", "_clip_quickgelu_"), timm) if timm.startswith("vit_") and "_clip_" in timm else ()
    return Names((both if quick else both[::-1]) or (timm,), weights.hub)


def towers(architecture: str) -> list[str]:
    """Names in timm of an architecture's image tower with any weights, for what is near.

    Examples
    --------
    >>> towers("ViT-B-32")[0]
    'vit_base_patch32_clip_224.openai'
    """
    plain = architecture.removesuffix(_QUICK).lower()
    return [weights.timm for (known, _), weights in MODELS.items() if known == plain]
