"""Checkpoints from a web server, and tensors of pickles: resumed, recorded, never executed."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch

from zooalign.config.manifest import ModelSpec
from zooalign.errors import WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.sources import _download
from zooalign.sources._torchvision import import_timm, import_transformers

from .test_sources_folders import row, save_tiny

PREPROCESSING = {"input_size": [3, 64, 64], "interpolation": "bilinear", "crop_pct": 0.875, "mean": [0.5] * 3,
                 "std": [0.5] * 3}  # fmt: skip


class Served:
    """One file on a server; `stops` are bytes after which transfers break off."""

    def __init__(self, content):
        self.content, self.stops, self.ranges, self.version = content, [], [], '"1"'
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                outer.ranges.append(wanted)
                if self.headers.get("If-Range", outer.version) != outer.version:
                    wanted = None
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
                if self.path != "/moco/checkpoint_0199.pth.tar":
                    self.send_error(404)
                    return
                part = outer.content[start:]
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(part)))
                self.send_header("ETag", outer.version)
                self.end_headers()
                self.wfile.write(part[: outer.stops.pop(0)] if outer.stops else part)

            def log_message(self, format, *args):
                del format, args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/moco/checkpoint_0199.pth.tar"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A training checkpoint of MoCo: encoders with a projection head, optimizer and epoch beside them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # the other tests stay offline
    monkeypatch.setattr(_download, "_PAUSE_S", 0.01)
    torch.manual_seed(0)
    network = import_timm().create_model("resnet18", num_classes=0)
    state = {f"module.encoder_q.{key}": value for key, value in network.state_dict().items()}
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(4, 4), "module.encoder_k.conv1.weight": torch.zeros(1)}
    torch.save({"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": {"lr": 0.1}}, tmp_path / "file")
    one = Served((tmp_path / "file").read_bytes())
    one.network = network.eval()
    yield one
    one.server.shutdown()
    one.server.server_close()


def spec(url):
    options = {
        "url": url, "architecture": "resnet18", "architecture_options": {"num_classes": 0}, "state_key": "state_dict",
        "prefix": "module.encoder_q.", "ignore": ["fc."], "classifier": False, "preprocessing": PREPROCESSING,
    }  # fmt: skip
    return ModelSpec.model_validate(
        {"id": "moco", "modality": "vision", "source": "torch_checkpoint", "options": options, "family": "moco",
         "objective": "self-supervised", "pooling": "mean", "parameters": 11_000_000, "licence": "none"}
    )  # fmt: skip


def test_a_checkpoint_is_resumed_loaded_and_the_same_for_ever(served, tmp_path):
    served.stops = [1_000_000, 2_000_000]
    row = spec(served.url)
    fetch_weights(row, tmp_path / "moco")
    assert served.ranges == [None, "bytes=1000000-", "bytes=3000000-"]
    assert (tmp_path / "moco/checkpoint_0199.pth.tar").read_bytes() == served.content
    model = load_model(row, tmp_path / "moco")
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = served.network.forward_intermediates(pixels, intermediates_only=True)[-1]
        torch.testing.assert_close(model.layers(pixels)[-2].patches, expected.flatten(2).transpose(1, 2))
    # Another file at the same address, seen from a machine without the cache.
    served.content = served.content[:-1] + b"x"
    for file in (tmp_path / "cache/zooalign").iterdir():
        file.unlink()
    with pytest.raises(
        WeightsError, match=r"it was at [0-9a-f]{64} when it was first fetched: delete .*revision\.json"
    ):
        fetch_weights(row, tmp_path / "moco", anew=True)
    assert load_model(row, tmp_path / "moco")  # what was there stays


def test_a_file_that_is_not_there_is_asked_for_once(served, tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be fetched .*404.*what has arrived is kept"):
        fetch_weights(spec(served.url.replace("0199", "0200")), tmp_path / "moco")
    assert served.ranges == [None]
    served.stops = [10] * 4
    with pytest.raises(WeightsError, match="the transfer ended after"):
        fetch_weights(spec(served.url), tmp_path / "moco")
    fetch_weights(spec(served.url), tmp_path / "moco")
    assert (tmp_path / "moco/checkpoint_0199.pth.tar").read_bytes() == served.content


def test_two_versions_of_a_file_are_never_joined(served, tmp_path):
    served.stops = [1_000_000] * 4
    with pytest.raises(WeightsError, match="the transfer ended after"):
        fetch_weights(spec(served.url), tmp_path / "moco")
    other = bytes(len(served.content))
    served.content, served.version = other, '"2"'
    fetch_weights(spec(served.url), tmp_path / "moco")
    assert (tmp_path / "moco/checkpoint_0199.pth.tar").read_bytes() == other


def test_rows_that_name_one_file_fetch_it_once_and_the_cache_needs_no_network(served, tmp_path, monkeypatch):
    rows = [spec(served.url).model_copy(update={"id": f"moco_{i}"}) for i in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda one: fetch_weights(one, tmp_path / one.id), rows))
    assert served.ranges == [None]
    assert {(tmp_path / one.id / "checkpoint_0199.pth.tar").read_bytes() for one in rows} == {served.content}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_weights(rows[0], tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="is not here: run"):
        fetch_weights(spec(served.url.replace("0199", "0200")), tmp_path / "none")


class Bomb:
    """Runs something when it is unpickled."""

    def __reduce__(self):
        return (open, ("executed", "w"))


def test_tensors_of_a_pickle_are_read_where_the_row_says_so_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "hub", "Llama")
    folder = tmp_path / "hub"
    model = import_transformers().AutoModelForCausalLM.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no model\.safetensors: other formats are not loaded"):
        fetch_weights(row({"path": str(folder)}), tmp_path / "weights")
    fetch_weights(row({"path": str(folder), "pickle": True}), tmp_path / "weights")
    loaded = load_model(row({"path": str(folder), "pickle": True}), tmp_path / "weights")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(dict(loaded.module.named_parameters())[name], parameter)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"model.embed_tokens.weight": Bomb()}))
    bad = row({"path": str(folder), "pickle": True})
    fetch_weights(bad, tmp_path / "bad")
    with pytest.raises(WeightsError):
        load_model(bad, tmp_path / "bad")
    assert not (tmp_path / "executed").exists()
