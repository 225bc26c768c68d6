"""The documentation as a site: built strictly, complete, and without a request to anywhere else."""

import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKE = ROOT / "docs" / "_make"
PROSE = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "config/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Whatever a browser fetches by itself.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def generated():
    """The modules that make the reference pages."""
    sys.path.insert(0, str(MAKE))
    try:
        from site_pages import api, commands, configuration, metrics, tables
    finally:
        sys.path.remove(str(MAKE))
    return {"api": api, "commands": commands, "configuration": configuration, "metrics": metrics, "tables": tables}


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", MAKE / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder, site):
    """Build the site of a checkout as `bash run.sh docs` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


class _Page(HTMLParser):
    """Ids, links, and what a browser fetches."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.fetched, self.text = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if value := attrs.get(FETCHED.get(tag, "")):
            self.fetched.append(value)

    def handle_data(self, data):
        self.text.append(data)


def test_nothing_is_fetched_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        outside = [address for address in _Page(path).fetched if re.match(r"(https?:)?//", address)]
        assert outside == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_search_works_from_disk(site, tmp_path):
    """Opened without a server and without a network."""
    command = [
        "chromium",
        "--headless=new",
        "--no-sandbox",
        f"--user-data-dir={tmp_path}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    page = f"{(site / 'index.html').as_uri()}?q=calibrated"
    done = subprocess.run(
        [*command, "--virtual-time-budget=20000", "--dump-dom", page],
        text=True,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert re.search(r"md-search-result__meta\">\s*[1-9]\d* matching documents", done.stdout)


def test_every_page_is_in_the_nav(site, hooks):
    """Strict builds fail otherwise; a page that is put into docs/how-to gets there by itself."""
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in ("tutorial", "cluster", "answer", "errata", "validation", "contributing"):
        assert f'href="{page}.html"' in home
    nav = [{"Home": "index.md"}, {"How-to": ["how-to/", {"Cluster": "cluster.md"}]}]
    pages = ["index.md", "how-to/b.md", "how-to/index.md", "how-to/a.md", "cluster.md", "other/c.md"]
    assert hooks.expanded(nav, pages) == [
        {"Home": "index.md"},
        {"How-to": ["how-to/index.md", "how-to/a.md", "how-to/b.md", {"Cluster": "cluster.md"}]},
    ]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](metrics.md#nowhere)", "nowhere"),
        ("[x](../src/nowhere.py)", "nowhere.py"),
        ("[x](/metrics.md)", "absolute link"),
    ],
)
def test_a_broken_link_fails_the_build(tmp_path, broken, said):
    """Also an anchor, and a link to a file that is no page. In a small copy: the reference takes seconds."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png"))
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    config["plugins"], config["nav"], config["watch"] = ["search"], ["index.md", "metrics.md"], []
    config["exclude_docs"] = "*\n!/index.md\n!/metrics.md\n!/assets/*\n"
    (tmp_path / "docs/metrics.md").write_text("# Metrics\n")
    for text, fails in (("# Home\n\n[x](metrics.md#metrics)\n", False), (f"# Home\n\n{broken}\n", True)):
        (tmp_path / "docs/index.md").write_text(text)
        (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
        done = build(tmp_path, tmp_path / "site")
        assert (done.returncode != 0) is fails, done.stderr
    assert said in done.stderr


def test_every_command_and_option_has_help_and_is_on_the_page(site, generated):
    commands = generated["commands"]
    page = _Page(site / "reference/commands.html")
    text = "".join(page.text)
    names = dict(commands.walk())
    assert {"zooalign", "zooalign plan", "zooalign zoo add", "zooalign submit score"} <= set(names)
    for name, command in names.items():
        assert command.help, f"{name} has no help"
        assert name.replace(" ", "-") in page.ids
        for parameter in commands.parameters(command):
            assert parameter.help, f"{name}: {parameter.name} has no help"
            assert commands.shown(parameter) in text
            assert " ".join(parameter.help.replace("`", "").split()) in " ".join(text.split())


def test_every_key_of_the_configuration_is_described_and_on_a_page(site, generated):
    configuration = generated["configuration"]
    from zooalign.config.manifest import DatasetSpec, ModelSpec, ZooFile
    from zooalign.config.schema import Config

    for name, models in (
        ("configuration", [Config]), ("zoo-rows", [ZooFile, ModelSpec]), ("dataset-rows", [DatasetSpec])
    ):  # fmt: skip
        page = _Page(site / f"reference/{name}.html")
        for model in models:
            for path, key, field in configuration.documented(model):
                assert field.description, f"{path}.{key} has no description"
                assert f"{path}.{key}".lstrip(".").replace(".", "-").replace("_", "-") in page.ids, (path, key)


@pytest.mark.parametrize(
    ("room", "name"), [("sources", "sources"), ("datasets", "dataset-families"), ("capability", "capability-kinds")]
)
def test_every_option_of_a_plug_in_is_described_and_on_a_page(site, generated, room, name):
    from zooalign.registry import plugin, plugin_names

    page = _Page(site / f"reference/{name}.html")
    for one in plugin_names(room):
        for path, key, field in generated["configuration"].documented(plugin(room, one, room).Options):
            assert field.description, f"{room}, {one}: {path}.{key} has no description"
            if not path:
                assert f"{one}-{key}".replace("_", "-").lower() in page.ids


def test_a_range_and_a_default_are_as_the_schema_has_them(generated):
    page = generated["configuration"].pages()["configuration.md"]
    assert "| `alpha`{ #inference-alpha } | number, > 0, < 1 | `0.05` |" in page
    assert "| `null`{ #inference-null } | `headline`, `all` or `none` | `headline` |" in page
    assert "| `zoo`{ #zoo } | list of text | (required) |" in page
    assert "## `resources.models.NAME`" in page


def test_every_metric_and_table_has_a_section(site, generated):
    from zooalign.registry import plugin_names

    for room in ("metrics", "tables"):
        page = _Page(site / f"reference/{room}.html")
        assert {name.replace("_", "-") for name in plugin_names(room)} <= page.ids
    for name in plugin_names("tables"):
        columns = generated["tables"].columns_of(name)
        assert len(columns) > 4
        assert all(column.meaning for column in columns)


def test_the_public_interface_is_documented(site, generated):
    for room in generated["api"].PUBLIC:
        page = _Page(site / f"reference/api/{room}.html")
        assert any(one and one.startswith(f"zooalign.{room}.") for one in page.ids), room
    score = _Page(site / "reference/api/alignment.html")
    assert {"zooalign.alignment.score.score", "zooalign.alignment.scores.Scores"} <= score.ids
    for path in (site / "reference/api").glob("*.html"):
        assert not re.search(r":(func|class|meth|data|mod):", path.read_text(encoding="utf-8")), path


def test_links_between_github_and_the_site(hooks):
    """The same text leads to files on GitHub and to pages here."""
    said = hooks.linked(
        "[a](../docs/metrics.md#x) [b](https://x.y/z.md) [c](#d)", "config/README.md", "configuration.md"
    )
    assert said == "[a](metrics.md#x) [b](https://x.y/z.md) [c](#d)"
    assert hooks.linked("[a](../config/README.md)", "docs/how-to/a.md", "how-to/a.md") == "[a](../config/README.md)"
    assert (
        hooks.linked("[a](../../config/README.md)", "docs/how-to/a.md", "how-to/a.md") == "[a](../configuration.md)"
    )


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_exist_in_the_checkout(path):
    """What is made when the site is built is left to the strict build."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s#]+)", text):
        if "://" in target or "reference/" in target:
            continue
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_translated_turns(path):
    """CONTRIBUTING.md, Words: plain English."""
    text = path.read_text(encoding="utf-8")
    for turn in (r"\bmended\b", r"\bstands twice\b", r"\bwho(ever)? does so already\b", r"\bsees to it\b"):
        assert not re.search(turn, text), turn


def test_the_metric_of_the_how_to_is_one(tmp_path):
    """Its code, as printed, against a plain count of common neighbours."""
    from zooalign.indexes.build import build_index

    page = (ROOT / "docs/how-to/add-a-metric.md").read_text(encoding="utf-8")
    file = tmp_path / "any_knn.py"
    file.write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location("any_knn", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((40, 9)).astype(np.float32) for _ in range(5)]
    x, y = build_index(layers[:2]), build_index(layers[2:])
    lists = [side.neighbors[:, :, :5] for side in (x, y)]
    wanted = [
        [np.mean([bool(set(a) & set(b)) for a, b in zip(one, other, strict=True)]) for other in lists[1]]
        for one in lists[0]
    ]
    np.testing.assert_allclose(module.matrix(x, y, 5), wanted)
    np.testing.assert_allclose(module.terms(x, y, 0, 0, 5).mean(), wanted[0][0])


def test_run_sh_builds_the_site(tmp_path):
    """`bash run.sh docs` in a checkout whose environment is complete; it says where the site is."""
    for name in ("run.sh", "pyproject.toml", "requirements.lock", "config.yaml", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    shutil.copytree(ROOT / "docs/assets", tmp_path / "docs/assets")
    (tmp_path / "docs/index.md").write_text("# Home\n")
    config = yaml.safe_load((tmp_path / "mkdocs.yml").read_text())
    for key in ("hooks", "nav", "watch"):
        del config[key]
    config["plugins"] = ["search"]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    stamp = "cat pyproject.toml requirements.lock envs/packages.txt | cksum > .venv/zooalign.stamp"
    subprocess.run(["bash", "-c", stamp], cwd=tmp_path, check=True)
    done = subprocess.run(["bash", "run.sh", "docs"], cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/site/index.html" in done.stderr
    assert (tmp_path / "site/index.html").is_file()
