"""Which rows of the zoo a published model is: by id, repository of the hub, name in timm, or open_clip's names."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from zooalign.config.manifest import ModelSpec
from zooalign.published._open_clip_models import names_of, towers
from zooalign.published._results import Published


class Fit(NamedTuple):
    """A row that is the published model; `but` says what differs in how it is run, empty where nothing does."""

    row: str
    but: str = ""


class Zoo:
    """Rows by everything that a file may call them."""

    def __init__(self, models: Sequence[ModelSpec]) -> None:
        self._models = models
        self._ids: dict[str, ModelSpec] = {spec.id.lower(): spec for spec in models}
        self._names: dict[str, list[ModelSpec]] = defaultdict(list)
        for spec in models:
            # A variant, and what was never trained, is another model than the one its options name.
            if spec.variant_of is None and not spec.control:
                for name in _names(spec):
                    self._names[name].append(spec)

    def match(self, model: Published) -> list[Fit]:
        """Rows that are a published model: vision results of vision models, language results of causal models.

        Notes
        -----
        A run of quantised weights, or of another revision, is another model. The other activation of the same weights
        is the same model, and so is a commit where the row takes the newest; `Fit.but` says so.
        """
        own = self._ids.get(model.name.lower())
        if own is not None:
            return [Fit(own.id)] if _agrees(own, model) else []
        fits = []
        for but, name in _called(model):
            for spec in self._names.get(name.lower(), ()):
                reason = _other_run(spec, model)
                if _agrees(spec, model) and reason is not None and spec.id not in [fit.row for fit in fits]:
                    fits.append(Fit(spec.id, "; ".join(part for part in (but, reason) if part)))
        return fits

    def nearest(self, model: Published, n: int = 3) -> list[str]:
        """Ids of the rows that are called most like a published model."""
        known = {name: spec.id for name, specs in self._names.items() for spec in specs if _agrees(spec, model)}
        known |= {key: spec.id for key, spec in self._ids.items() if _agrees(spec, model)}
        names = [name for _, name in _called(model)]
        if model.architecture and names == [model.name]:
            names = towers(model.architecture)
        near = [near for name in names for near in _near(name.lower(), known)]
        return list(dict.fromkeys(known[name] for name in near))[:n]


def _near(name: str, known: dict[str, str]) -> list[str]:
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6)


def _names(spec: ModelSpec) -> list[str]:
    """What a row's weights are called, in lower case."""
    name, hub = spec.options.get("name"), spec.options.get("hub_id")
    of_timm = [str(name), f"timm/{name}"] if spec.source == "timm" and name else []
    return [text.lower() for text in (*of_timm, *([str(hub)] if hub else []))]


def _called(model: Published) -> list[tuple[str, str]]:
    """Names that a published model may have in a row, the nearest first, with what differs under that name."""
    # A repository that open_clip's weights lie in is also the tower in timm.
    of_hub = model.name if model.modality == "vision" else ""
    pair = names_of(model.architecture or of_hub, model.tag)
    if pair is None:
        return [("", model.name)]
    quick = "quickgelu" in pair.timm[0]
    other = f"published with {'QuickGELU' if quick else 'GELU'}, the row has {'GELU' if quick else 'QuickGELU'}"
    return [("", pair.timm[0]), *([("", pair.hub)] if pair.hub else []), *((other, name) for name in pair.timm[1:])]


def _agrees(spec: ModelSpec, model: Published) -> bool:
    if model.modality == "language":
        return spec.modality == "language" and spec.causal
    return model.modality in (None, spec.modality)


def _other_run(spec: ModelSpec, model: Published) -> str | None:
    """What differs in the weights' precision or revision; None where they are not those of the row."""
    if model.quantisation != spec.quantisation and model.modality is not None:
        return None
    reasons = []
    revision = str(spec.options.get("revision") or "")
    if model.revision and model.revision != revision:
        is_commit = len(model.revision) == 40 and set(model.revision) <= set("0123456789abcdef")
        if revision or not is_commit:
            return None
        reasons.append(f"published for commit {model.revision[:8]}, the row takes the newest")
    if model.precision in ("float32", "float16", "bfloat16") and model.precision != spec.precision:
        reasons.append(f"published in {model.precision}, the row has {spec.precision}")
    return "; ".join(reasons)
