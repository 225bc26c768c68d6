"""What an architecture says of itself: layers, widths, parameters and operations, from shapes alone."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.errors import WeightsError

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.models.model import VisionModel

PLACEHOLDER = {"interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "crop_pct": 1.0}


class Facts(NamedTuple):
    """Of a network that was built on the meta device.

    Attributes
    ----------
    parameters : int
        Shared ones counted once; of a vision model with its classifier.
    layers : int
        Layers whose features are taken.
    width : int
        Of the last one.
    features_per_sample : int
        Sum of the widths of all layers.
    gflops : float or None
        10^9 operations (multiplication and addition are two) of the forward pass of one image; None for language
        models, whose estimate follows from the parameters.
    """

    parameters: int
    layers: int
    width: int
    features_per_sample: int
    gflops: float | None


def facts_of(spec: ModelSpec) -> Facts | None:
    """What the row's architecture says; None where the row names none that can be built without its weights.

    Raises
    ------
    WeightsError
        If the library does not know the architecture, its tag or its options.
    """
    options = spec.options
    if spec.source == "timm" and options.get("name"):
        return timm_facts(options["name"], image_size=options.get("image_size"), pooled=options.get("pooled"))
    if spec.source in ("torch_checkpoint", "random") and options.get("architecture"):
        further = options.get("architecture_options") or {}
        size = tuple(options["preprocessing"]["input_size"])
        if spec.source == "random" or options.get("classifier") is False:
            further = {"num_classes": 0, **further}
        return timm_facts(options["architecture"], further, size, pooled=options.get("pooled"), pretrained=False)
    if spec.source == "small_alexnet":
        return _small_alexnet_facts()
    if spec.source in ("transformers", "random") and spec.modality == "language":
        if spec.architecture is not None:
            return language_facts(config_of(spec.architecture), causal=spec.causal)
        if options.get("path"):
            return language_facts(config_in(Path(options["path"])), causal=spec.causal)
    return None


def timm_facts(
    name: str,
    options: dict[str, Any] | None = None,
    input_size: tuple[int, ...] | None = None,
    *,
    image_size: int | None = None,
    pooled: bool | None = None,
    pretrained: bool = True,
) -> Facts:
    """Build a network of timm on the meta device and run one image through it.

    Parameters
    ----------
    name : str
        Name in timm, with its tag where its weights are meant.
    options : dict, optional
        Arguments of timm.create_model.
    input_size : tuple of int, optional
        (C, H, W); default: that of the weights.
    image_size : int, optional
        Edge, where the row runs the model at another size.
    pooled : bool, optional
        As in the sources' options.
    pretrained : bool
        Whether timm must know weights of that name.

    Raises
    ------
    WeightsError
        If timm does not know the name or its tag, refuses the options, or cannot give the layers.
    """
    import torch

    from zooalign.sources._preprocessing import Preprocessing
    from zooalign.sources._vision import TimmVisionModel, create

    if pretrained:
        check_timm_name(name)
    size = input_size or published_size(name)
    options = dict(options or {})
    if image_size is not None:
        size, options["img_size"] = (3, image_size, image_size), image_size
    if not pretrained:
        name = name.split(".")[0]
    with _quiet(), torch.device("meta"):
        module = create(name, options)
        preprocessing = Preprocessing(input_size=size, crop_mode="squash", **PLACEHOLDER)  # type: ignore[arg-type]
        return _facts_by_running(TimmVisionModel(module, preprocessing, pooled=pooled), name)


def _small_alexnet_facts() -> Facts:
    import torch

    from zooalign.sources.small_alexnet import Options, SmallAlexNet, build

    with torch.device("meta"):
        return _facts_by_running(
            SmallAlexNet(build().eval(), Options(path="none").preprocessing), "the small AlexNet"
        )


def _facts_by_running(model: VisionModel, name: str) -> Facts:
    """Run one image through a network on the meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    size = model.input_size
    model.module.requires_grad_(False)  # the counter follows what has gradients, which not every network allows
    with FlopCounterMode(display=False) as counter:
        try:
            layers = model.layers(torch.empty(1, *size, device="meta"))
        except (RuntimeError, AssertionError, ValueError) as error:
            said = " ".join(str(error).split())[:300]
            raise WeightsError(f"{name} cannot read pictures of {size[1]} x {size[2]}: {said}") from error
    widths = [layer.patches.shape[-1] for layer in layers]
    parameters = sum(p.numel() for p in model.module.parameters())
    return Facts(parameters, len(widths), widths[-1], sum(widths), counter.get_total_flops() / 1e9)


def has_class_token(name: str) -> bool:
    """Whether a network of timm has a class token."""
    import torch

    from zooalign.sources._vision import create

    with _quiet(), torch.device("meta"):
        return getattr(create(name, {}), "cls_token", None) is not None


def published_size(name: str) -> tuple[int, ...]:
    """Input size (C, H, W) of timm's published weights."""
    from zooalign.sources._torchvision import import_timm

    config = import_timm().get_pretrained_cfg(name)
    if config is None:
        raise WeightsError(f"timm knows no configuration of {name!r}")
    return tuple(config.input_size)


def check_timm_name(name: str) -> None:
    """Refuse what the installed timm has no pretrained weights for; the message has the tags that there are.

    Raises
    ------
    WeightsError
    """
    from zooalign.errors import unknown
    from zooalign.sources._torchvision import import_timm

    timm = import_timm()
    known = timm.list_pretrained()
    if name in known:
        return
    tags = [one for one in known if one.split(".")[0] == name.split(".")[0]]
    if tags:
        raise WeightsError(f"timm {timm.__version__} has no weights {name!r}; it has {', '.join(tags)}")
    raise WeightsError(f"timm {timm.__version__}: {unknown('model', name, known)}")


def config_of(architecture: dict[str, Any]) -> Any:
    """Configuration, as transformers has it, of a row's `architecture`.

    Raises
    ------
    WeightsError
        If transformers does not know the model type or a value.
    """
    from zooalign.errors import unknown
    from zooalign.sources._torchvision import import_transformers

    transformers = import_transformers()
    kind = architecture.get("model_type")
    known = list(transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES)
    if kind not in known:
        message = unknown("model type", str(kind), known)
        raise WeightsError(
            f"transformers {transformers.__version__}: {message} Newer models need a newer transformers."
        )
    values = {key: value for key, value in architecture.items() if key != "model_type"}
    try:
        return transformers.AutoConfig.for_model(kind, **values)
    except Exception as error:  # whatever the validators of its configurations raise
        raise WeightsError(
            f"architecture: {kind} refuses its values: {' '.join(str(error).split())[:300]}"
        ) from error


def config_in(folder: Path) -> Any:
    """Configuration of transformers in a local folder; raises WeightsError if there is none."""
    from zooalign.sources._torchvision import import_transformers

    try:
        return import_transformers().AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{str(folder)!r} has no config.json that transformers can read: {error}") from error


def language_facts(config: Any, *, causal: bool) -> Facts:
    """Build a language model of transformers on the meta device; the embedding output is a layer.

    Raises
    ------
    WeightsError
        If the library cannot build it.
    """
    import torch

    from zooalign.sources._torchvision import import_transformers

    transformers = import_transformers()
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    try:
        with _quiet(), torch.device("meta"):
            module = kind.from_config(config)
    except (TypeError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise WeightsError(f"transformers cannot build it: {' '.join(str(error).split())[:300]}") from error
    text = config.get_text_config()
    layers, width = text.num_hidden_layers + 1, text.hidden_size
    return Facts(sum(p.numel() for p in module.parameters()), layers, width, layers * width, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries say while they build networks that nobody will run."""
    import warnings

    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
