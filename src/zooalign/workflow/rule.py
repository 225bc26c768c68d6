"""What a rule of the workflow is: the base of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.progress import Report
    from zooalign.workflow.checks import Verdict
    from zooalign.workflow.work import Work

Parts = tuple[str, ...]
Needs = list[tuple[str, Parts]]


def place(parts: Parts) -> Parts:
    """Dataset and model of the parts of an index or a row, then the preparation where it is of one.

    Examples
    --------
    >>> place(("emoji", "minilm_l6")), place(("k-5", "emoji", "minilm_l6"))
    (('emoji', 'minilm_l6'), ('emoji', 'minilm_l6', 'k-5'))
    """
    return (*parts[-2:], *parts[:-2])


class Rule(ABC):
    """Base of all rules.

    Attributes
    ----------
    name : str
        As in workflow/rules and in config.yaml.
    wildcards : tuple of str
        What its parts are called.
    kind : str
        What an artefact of it is called.
    files_written : int
        Files and folders of one artefact.
    light : bool
        Whether it starts without torch.
    fetches : bool
        Whether it may use the network.
    decodes_images : bool
        Whether worker processes decode images beside a vision model.
    gathered : bool
        Whether a rule of this name only gathers the outputs of others, one per table or figure.
    whole_folder : bool
        Whether its artefact is a folder, of which the declared output is the file written last.
    stays_here : bool
        Whether it always runs where Snakemake runs.
    """

    name = ""
    wildcards: tuple[str, ...] = ()
    kind = ""
    files_written = 1
    light = False
    fetches = False
    decodes_images = False
    gathered = False
    whole_folder = False
    stays_here = False

    @abstractmethod
    def parts(self, work: Work) -> list[Parts]:
        """Everything that it is applied to in a sweep."""

    @abstractmethod
    def files(self, layout: Layout, *parts: str) -> list[Path]:
        """Its outputs; of a folder, the file that is written last."""

    def needs(self, work: Work, *parts: str) -> Needs:
        """(rule, parts) of what it is made from."""
        del work, parts
        return []

    @abstractmethod
    def check(self, work: Work, *parts: str) -> Verdict:
        """Whether what is on disk is what the configuration asks for, given that its inputs are."""

    @abstractmethod
    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        """Arguments of the library's function, paths and `report` apart."""

    @abstractmethod
    def run(self, work: Work, parts: Parts, report: Report) -> None:
        """Call the library's function."""

    @abstractmethod
    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        """Memory of the host in MB, without Snakemake's, and seconds of work."""

    @abstractmethod
    def written(self, work: Work, *parts: str) -> float:
        """Bytes of its outputs."""

    def traces(self, layout: Layout, *parts: str) -> list[Path]:
        """What an earlier attempt leaves behind when it ends before its time."""
        return self.files(layout, *parts)

    def share(self, work: Work, parts: Parts) -> float:
        """Part of the estimated seconds that falls to an item."""
        del work, parts
        return 1.0

    def runs_model(self, sweep: Sweep, parts: Parts) -> bool:
        """Whether a model runs, on a GPU where there is one."""
        del sweep, parts
        return False

    def logits_mem_mb(self, sweep: Sweep, parts: Parts) -> int:
        """MB on a GPU besides weights and a batch."""
        del sweep, parts
        return 0

    def may_run_models(self) -> bool:
        """Whether any of its jobs can run a model."""
        return type(self).runs_model is not Rule.runs_model

    def model(self, parts: Parts) -> str | None:
        """The model among the parts."""
        return parts[self.wildcards.index("model")] if "model" in self.wildcards else None

    def title(self, parts: Parts) -> str:
        """For people: "minilm_l6 on emoji"."""
        return {2: "{1} on {0}"}.get(len(parts), "{0}").format(*parts)
