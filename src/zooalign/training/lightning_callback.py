"""Alignment in the Trainer of Lightning, logged by its loggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zooalign.errors import ConfigError
from zooalign.sources._torchvision import ensure_torchvision

try:
    ensure_torchvision()  # which lightning imports
    from lightning.pytorch import Callback
except ImportError as error:
    raise ImportError(
        f"LightningAlignment needs lightning, which cannot be imported ({error}): pip install 'zooalign[training]'"
    ) from error

if TYPE_CHECKING:
    from zooalign.training.probe import AlignmentProbe

_SHARDED = ("FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy")


class LightningAlignment(Callback):
    """Measures alignment before the first step, every `probe.every` optimiser steps, and after the last.

    Parameters
    ----------
    probe : AlignmentProbe
        What to measure.
    part : str
        Name of the part of the LightningModule that `probe.features` is given ("model"); "" for the whole.

    Raises
    ------
    ConfigError
        When a training begins in which no process has the whole model, or it has no such part.

    Notes
    -----
    Values go to every logger of the trainer at the number of optimiser steps done, whatever `log_every_n_steps` is,
    and into `trainer.callback_metrics`, where other callbacks can monitor them. In distributed training process zero
    measures while the others wait, and all of them get the values. The training gives the same weights, bit for bit,
    with the callback and without.

    Examples
    --------
    ::

        trainer = lightning.Trainer(callbacks=[LightningAlignment(probe, part="model")])
        trainer.fit(module, loader)
    """

    def __init__(self, probe: AlignmentProbe, part: str = "") -> None:
        self.probe, self.part = probe, part
        self._last = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure the model as it is before the first step; one that is resumed was measured already."""
        strategy = type(trainer.strategy).__name__
        if strategy in _SHARDED:
            raise ConfigError(
                f"no process has the whole model under {strategy}, so its alignment cannot be measured while it "
                "trains: score its saved checkpoints with zooalign.score."
            )
        self._last = trainer.global_step
        if trainer.global_step == 0:
            self._measure(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure the model if an optimiser step was its turn."""
        if trainer.global_step != self._last and trainer.global_step % self.probe.every == 0:
            # Loggers have the values already, at a step that Lightning would not choose.
            pl_module.log_dict(self._measure(trainer, pl_module), logger=False, on_step=True, on_epoch=False)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the model after the last step, unless it was."""
        if trainer.global_step != self._last:
            self._measure(trainer, pl_module)

    def _measure(self, trainer: Any, pl_module: Any) -> dict[str, float]:
        self._last = trainer.global_step
        values = self.probe.measure_or_warn(self._part(pl_module)) if trainer.is_global_zero else {}
        values = trainer.strategy.broadcast(values)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        return values

    def _part(self, pl_module: Any) -> Any:
        try:
            return pl_module.get_submodule(self.part)
        except AttributeError:
            raise ConfigError(
                f"{type(pl_module).__name__} has no part {self.part!r}: name one of its modules."
            ) from None
