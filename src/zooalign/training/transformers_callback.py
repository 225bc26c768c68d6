"""Alignment in the Trainer of transformers, logged beside the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zooalign.errors import ConfigError

try:
    from transformers.trainer_callback import TrainerCallback
except ImportError as error:
    raise ImportError(
        f"TrainerAlignment needs transformers, which cannot be imported ({error}): pip install transformers"
    ) from error

if TYPE_CHECKING:
    from zooalign.training.probe import AlignmentProbe


class TrainerAlignment(TrainerCallback):
    """Measures alignment before the first step, every `probe.every` steps, and after the last.

    Parameters
    ----------
    trainer : transformers.Trainer
        Through whose `log` the values go: into `state.log_history`, and to everything in `report_to`.
    probe : AlignmentProbe
        What to measure.

    Raises
    ------
    ConfigError
        When a training begins in which no process has the whole model (FSDP, ZeRO stage 3).

    Notes
    -----
    Process zero alone measures; the others go on and wait for it at their next exchange of gradients. The training
    gives the same weights, bit for bit, with the callback and without.

    Examples
    --------
    ::

        trainer = Trainer(model, args, train_dataset=dataset)
        trainer.add_callback(TrainerAlignment(trainer, probe))
        trainer.train()
    """

    def __init__(self, trainer: Any, probe: AlignmentProbe) -> None:
        self.probe, self._trainer = probe, trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the model as it is before the first step; one that is resumed was measured already."""
        accelerator = self._trainer.accelerator
        zero = getattr(accelerator.state, "deepspeed_plugin", None)
        if self._trainer.is_fsdp_enabled or (zero is not None and zero.zero_stage == 3):
            raise ConfigError(
                "no process has the whole model under FSDP or ZeRO stage 3, so its alignment cannot be measured "
                "while it trains: score its saved checkpoints with zooalign.score."
            )
        if state.global_step == 0:
            self._measure(state, control, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the model if it is time, or this was the last step."""
        if state.global_step % self.probe.every == 0 or state.global_step >= state.max_steps:
            self._measure(state, control, kwargs["model"])

    def _measure(self, state: Any, control: Any, model: Any) -> None:
        if not state.is_world_process_zero:
            return
        whole = self._trainer.accelerator.unwrap_model(model, keep_torch_compile=False)
        values = self.probe.measure_or_warn(whole)
        # To log is to say that what was due is logged; the loss of this step may still be.
        due = control.should_log
        self._trainer.log(values)
        control.should_log = due
