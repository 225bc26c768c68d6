"""The callbacks in whole trainings: what is logged, that checkpoints have those scores, and that nothing changes."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import zooalign
from tests.unit.tiny_training import extracted, make_model, make_shapes, tokenizer, training_rows
from zooalign.errors import ConfigError, MetricError
from zooalign.training import AlignmentProbe, LightningAlignment, TextFeatures, TrainerAlignment

# Lightning's advice for other trainings than these: larger ones, on a GPU, on SLURM.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:GPU available but not used"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
]
KEY = "alignment/other/mutual_knn@10"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    return folder, make_shapes(folder)


@pytest.fixture(scope="module")
def store(shapes, tmp_path_factory):
    """Features of another random model: the reference."""
    folder = tmp_path_factory.mktemp("reference")
    make_model(seed=2).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    return extracted(folder / "model", shapes[0], folder / "other.zarr")


@pytest.fixture
def probe(shapes, store):
    """Of every second step."""
    return AlignmentProbe({"other": store}, TextFeatures(shapes[1], tokenizer()), every=2)


def trainer_of(shapes, folder, **changes):
    """A Trainer of five steps of a tiny GPT-2 with dropout."""
    from transformers import Trainer, TrainingArguments

    settings = {
        "max_steps": 5, "per_device_train_batch_size": 8, "learning_rate": 0.01, "save_strategy": "no", "seed": 3,
        "report_to": "none", "disable_tqdm": True, "use_cpu": True, "logging_steps": 4,
        "lr_scheduler_type": "constant",
    }  # fmt: skip
    args = TrainingArguments(str(folder), **{**settings, **changes})
    return Trainer(make_model(), args, train_dataset=training_rows(shapes[1]), processing_class=tokenizer())


def logged(trainer):
    return {entry["step"]: entry for entry in trainer.state.log_history if KEY in entry}


def same_weights(a, b):
    b = b.state_dict()
    return all(torch.equal(value, b[name]) for name, value in a.state_dict().items())


def test_trainer_logs_before_on_every_second_and_after_the_last_step(shapes, probe, tmp_path, capsys):
    trainer = trainer_of(shapes, tmp_path)
    trainer.add_callback(TrainerAlignment(trainer, probe))
    trainer.train()
    entries = logged(trainer)
    assert list(entries) == [0, 2, 4, 5]
    assert all({KEY, f"{KEY}_layer", "alignment/seconds", "epoch"} <= set(entry) for entry in entries.values())
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [4]
    assert capsys.readouterr().out.count(KEY + "'") == 4  # what is logged reaches other callbacks: here the printer


def test_trainer_checkpoints_have_the_scores_that_were_logged(shapes, store, probe, tmp_path):
    trainer = trainer_of(shapes, tmp_path, save_strategy="steps", save_steps=2)
    trainer.add_callback(TrainerAlignment(trainer, probe))
    trainer.train()
    values = []
    for step in (2, 4):
        features = extracted(tmp_path / f"checkpoint-{step}", shapes[0], tmp_path / f"{step}.zarr")
        best = zooalign.score(features, store).best["mutual_knn@10"]
        assert logged(trainer)[step][KEY] == best["score"]
        assert logged(trainer)[step][f"{KEY}_layer"] == best["layer_x"]
        values.append(best["score"])
    assert values[0] != values[1]  # it trained in between
    history = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if KEY in entry] == [0, 2, 4]


@pytest.mark.parametrize("changes", [{}, {"bf16": True}, {"gradient_accumulation_steps": 2}])
def test_trainer_trains_to_the_same_bits_with_the_callback(shapes, probe, tmp_path, changes):
    plain = trainer_of(shapes, tmp_path, logging_steps=1, **changes)  # which seeds
    plain.train()
    watched = trainer_of(shapes, tmp_path, logging_steps=1, **changes)
    watched.add_callback(TrainerAlignment(watched, probe))
    watched.train()
    assert same_weights(plain.model, watched.model)
    assert not same_weights(plain.model, make_model())
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (plain, watched)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 5
    assert len(logged(watched)) == 4


def test_trainer_that_resumes_measures_no_step_twice(shapes, probe, tmp_path):
    first = trainer_of(shapes, tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    first.add_callback(TrainerAlignment(first, probe))
    first.train()
    second = trainer_of(shapes, tmp_path)
    second.add_callback(TrainerAlignment(second, probe))
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [entry["step"] for entry in second.state.log_history if KEY in entry] == [0, 2, 4, 5]
    whole = trainer_of(shapes, tmp_path)
    whole.add_callback(TrainerAlignment(whole, probe))
    whole.train()
    assert logged(whole)[5][KEY] == logged(second)[5][KEY]


def test_trainer_measures_in_process_zero_alone_and_not_what_is_sharded(shapes, probe, tmp_path, monkeypatch):
    trainer = trainer_of(shapes, tmp_path)
    callback = TrainerAlignment(trainer, probe)
    monkeypatch.setattr(probe, "measure", lambda _: pytest.fail("measured"))
    other = SimpleNamespace(is_world_process_zero=False, global_step=0, max_steps=9)
    callback.on_train_begin(None, other, None, model=trainer.model)
    trainer.is_fsdp_enabled = True
    with pytest.raises(ConfigError, match="no process has the whole model under FSDP"):
        callback.on_train_begin(None, other, None, model=trainer.model)


def test_trainer_stops_at_once_for_samples_that_are_not_those_of_the_reference(shapes, store, tmp_path):
    probe = AlignmentProbe(store, lambda _: np.ones((3, 2, 4)))
    trainer = trainer_of(shapes, tmp_path)
    trainer.add_callback(TrainerAlignment(trainer, probe))
    with pytest.raises(MetricError, match="features are of 3 samples, the reference 'other' is of 64"):
        trainer.train()
    assert trainer.state.global_step == 0


def module():
    """The same model as a LightningModule; nothing of it is logged."""
    import lightning

    class Captions(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = make_model()

        def training_step(self, batch, _):
            return self.network(**batch).loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    return Captions()


def fit(shapes, folder, callbacks=(), network=None, **changes):
    """Five steps of Lightning's Trainer; it and the module."""
    import lightning

    lightning.seed_everything(3, verbose=False)
    network = network or module()
    loader = torch.utils.data.DataLoader(training_rows(shapes[1]), batch_size=8, shuffle=True)
    settings = {
        "max_steps": 5, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "devices": 1, "default_root_dir": folder,
    }  # fmt: skip
    trainer = lightning.Trainer(callbacks=list(callbacks), **{**settings, **changes})
    trainer.fit(network, loader)
    return trainer, network


def test_lightning_logs_the_scores_of_its_checkpoints(shapes, store, probe, tmp_path):
    import lightning
    from lightning.pytorch.loggers import CSVLogger

    class Save(lightning.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            folder = tmp_path / f"step-{trainer.global_step}"
            pl_module.network.save_pretrained(folder)
            tokenizer().save_pretrained(folder)
            monitored.append(trainer.callback_metrics.get(KEY))

    monitored = []
    logger = CSVLogger(tmp_path, name="log", version="")
    fit(shapes, tmp_path, [LightningAlignment(probe, "network"), Save()], logger=logger, log_every_n_steps=3)
    with open(tmp_path / "log" / "metrics.csv") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    assert list(rows) == [0, 2, 4, 5]
    for step in (2, 4, 5):
        features = extracted(tmp_path / f"step-{step}", shapes[0], tmp_path / f"{step}.zarr")
        best = zooalign.score(features, store).best["mutual_knn@10"]
        assert float(rows[step][KEY]) == best["score"]
        assert float(rows[step][f"{KEY}_layer"]) == best["layer_x"]
    assert monitored[0] is None
    assert [float(value) for value in monitored[1:]] == pytest.approx(
        [float(rows[step][KEY]) for step in (2, 2, 4, 4)]
    )


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
def test_lightning_trains_to_the_same_bits_with_the_callback(shapes, probe, tmp_path, changes):
    _, plain = fit(shapes, tmp_path, **changes)
    _, watched = fit(shapes, tmp_path, [LightningAlignment(probe, "network")], **changes)
    assert same_weights(plain, watched)
    assert not same_weights(plain, module())
    assert set(probe.scores) == {"other"}


def test_both_trainers_measure_the_same_model(shapes, probe, tmp_path):
    trainer = trainer_of(shapes, tmp_path)
    trainer.add_callback(TrainerAlignment(trainer, probe))
    trainer.train()
    monitored = fit(shapes, tmp_path, [LightningAlignment(probe, "network")], max_steps=1)[1]
    assert probe.measure(monitored.network)[KEY] != logged(trainer)[0][KEY]
    assert probe.measure(make_model())[KEY] == logged(trainer)[0][KEY]


def test_lightning_refuses_a_part_that_is_none_and_what_is_sharded(shapes, probe, tmp_path):
    with pytest.raises(ConfigError, match="Captions has no part 'model'"):
        fit(shapes, tmp_path, [LightningAlignment(probe, "model")])
    sharded = SimpleNamespace(strategy=type("FSDPStrategy", (), {})())
    with pytest.raises(ConfigError, match="no process has the whole model under FSDPStrategy"):
        LightningAlignment(probe).on_train_start(sharded, None)


def test_lightning_measures_in_process_zero_and_all_get_the_values(probe, monkeypatch):
    monkeypatch.setattr(probe, "measure", lambda _: pytest.fail("measured"))
    values = {KEY: 0.5}
    seen = []
    other = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda given: seen.append(given) or values),
        is_global_zero=False, global_step=2, loggers=[],
    )  # fmt: skip
    part = SimpleNamespace(log_dict=lambda given, **_: seen.append(given))
    LightningAlignment(probe).on_train_batch_end(other, part, None, None, 0)
    assert seen == [{}, values]
