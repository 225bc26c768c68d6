"""The report in a real Chromium: it opens from disk, works by pointer and keyboard, and asks nothing of a network."""

import re
import time
from pathlib import Path

import axe_core_python
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from ..unit.synthetic_findings import SCORES
from .conftest import HOSTILE, caption, terms, write_report

pytestmark = pytest.mark.browser
PAIR = "pair?dataset=pictures&x=cnn&y=gpt"
PAGES = ("", "matrix", "explorer", "models", "model?id=gpt", PAIR, "sensitivity", "methods", "tables")
CHARTS = ("", "matrix", "explorer", PAIR)
AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
PHONE, DESKTOP = (390, 844), (1280, 900)


@pytest.fixture
def opened(browser, report_file):
    browser.resize(*DESKTOP)
    browser.problems()
    browser.requests()
    yield lambda page="": browser.open(report_file, page)
    assert browser.problems() == []


def choose(browser, label, value):
    """Choose in a select box, as a user does."""
    browser.run(
        """const labels = [...document.querySelectorAll(".controls label")];
        const box = labels.find((l) => l.firstChild.textContent === arguments[0]).querySelector("select");
        box.value = arguments[1];
        box.dispatchEvent(new Event("change"));""",
        label,
        value,
    )


def points(browser):
    """Models and values of the scatter that is shown."""
    return browser.run(
        """const plot = document.querySelector(".chart");
        return Object.fromEntries(plot.data.flatMap((t) => t.customdata.map((id, i) => [id, [t.x[i], t.y[i]]])));"""
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_from_disk_and_nothing_leaves_the_file(browser, opened, report_file, page):
    opened(page)
    assert browser.run("return document.querySelectorAll('main h1').length") == 1
    asked = browser.requests()
    assert report_file.as_uri() in asked
    assert asked <= {report_file.as_uri(), "about:blank"}


@pytest.mark.parametrize("page", CHARTS)
def test_charts_are_drawn(browser, opened, page):
    opened(page)
    browser.wait("return document.querySelectorAll('.chart .main-svg').length > 0")
    marks = browser.run("return document.querySelectorAll('.chart .point, .chart .heatmaplayer image').length")
    assert marks > 0


def test_the_answer_is_first_and_the_scatter_shows_the_headline(browser, opened):
    opened()
    answer = browser.run("return document.querySelector('.answer').textContent")
    assert "bits_per_byte" in answer
    assert points(browser) == {"gpt": [1.0, 0.2], "gpt_noise": [2.0, 0.14], "noise_l": [3.0, 0.05]}


def test_choices_change_what_the_explorer_shows(browser, opened):
    opened("explorer")
    before = points(browser)
    choose(browser, "k", "5")
    assert points(browser)["gpt"] == [1.0, pytest.approx(0.1)]
    choose(browser, "Horizontal axis", "capability digits")
    assert set(points(browser)) == {"cnn", "vit", "noise_v"}
    choose(browser, "Metric", "cka")
    choose(browser, "Colour", "family")
    names = browser.run("return document.querySelector('.chart').data.map((t) => t.name)")
    assert names == ["f1", "f2", "random"]
    choose(browser, "Models", "released")
    assert set(points(browser)) == {"cnn", "vit"}
    # The address holds the choices: another visit shows the same.
    address = browser.run("return location.hash.slice(2)")
    opened(address)
    assert set(points(browser)) == {"cnn", "vit"} != set(before)


def test_a_correlation_without_an_interval_claims_no_trend_and_turns_what_is_better_lower(browser, opened):
    opened("explorer?k=5&x=capability both_bits")
    said = browser.run("return document.querySelector('[aria-live]').textContent")
    assert said.startswith("Spearman +1.00 of the values as drawn, 5 models of 4 families")
    assert "it shows no trend" in said


def test_a_cell_of_the_matrix_opens_its_pair(browser, opened):
    opened("matrix")
    said = browser.run("return document.querySelector('.chart').data[0].text.flat()")
    assert any(re.search(r"cnn, gpt<br>score 0\.1000<br>.*best layers block_2 and block_3", text) for text in said)
    plot = browser.driver.find_element("css selector", ".chart .nsewdrag")
    ActionChains(browser.driver).move_to_element_with_offset(
        plot, 3 - plot.size["width"] // 2, 3 - plot.size["height"] // 2
    ).click().perform()
    browser.wait("return location.hash.startsWith('#/pair')")
    shown = browser.run("return document.querySelector('h1').textContent")
    first = said[0].partition("<br>")[0]
    assert sorted(re.sub("[†‡ ]", "", shown).split("and")) == sorted(first.split(", "))


def test_a_square_of_a_directed_metric_is_not_mirrored(browser, opened):
    for metric, other in (("cycle_knn@10", None), ("mutual_knn@10", 0.6)):
        opened(f"matrix?metric={metric}&comparison=vision-vision&order=name")
        z = browser.run("return document.querySelector('.chart').data[0].z")
        # cnn, noise_v, vit: the rows hold (cnn, vit) = 0.6, and nothing of (vit, cnn).
        assert [z[0][2], z[2][0]] == [0.6, other]


def test_a_matrix_without_calibrated_scores_says_so(browser, opened):
    opened("matrix?metric=cka@0&colour=calibrated")
    assert "cka has no calibrated score" in browser.run("return document.querySelector('.chart').textContent")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("matrix?dataset=x&metric=y&comparison=z&order=?&colour=%", "Every pair of models"),
        ("explorer?x=1&y=2&dataset=3&metric=4&k=five&population=6&partners=7&colour=8", "Explorer"),
        ("pair?dataset=x&x=cnn&y=gpt", "cnn and gpt"),
        ("pair?x=<b>&y=gpt", "A pair of models"),
        ("model?id=<script>", "Not in this report"),
        ("nowhere", "Not in this report"),
    ],
)
def test_an_address_that_asks_for_what_is_not_there_shows_what_is(browser, opened, page, said):
    opened(page)
    assert browser.run("return document.querySelector('h1').textContent") == said


def test_pages_that_are_left_at_once_leave_nothing_behind(browser, opened):
    opened()
    for page in ("matrix", PAIR, "explorer", PAIR, "models", "methods"):
        browser.run("location.hash = arguments[0]", f"/{page}")
    browser.wait("return document.title.startsWith('Methods')")
    assert browser.run("return [...document.querySelectorAll('h1')].map((h) => h.textContent)") == [
        "Methods, settings and errata"
    ]


def test_a_pair_shows_its_layer_map_and_samples(browser, opened):
    opened(PAIR)
    z = browser.run("return document.querySelector('.chart').data[0].z")
    assert [len(z), *{len(row) for row in z}] == [3, 4]
    assert z[2][3] == pytest.approx(0.1, abs=2e-5)
    most, least = browser.run(
        """return [...document.querySelectorAll(".samples")]
        .map((list) => [...list.children].map((sample) => sample.children[1].textContent));"""
    )
    assert most[:3] == [caption(i) for i in range(3)]
    assert least[:2] == [caption(3), caption(4)]
    assert set(terms(0)[:3]) == {1.0}
    sizes = browser.run("return [...document.querySelectorAll('.samples img')].map((i) => i.naturalWidth)")
    assert len(sizes) == 12
    assert all(size > 0 for size in sizes)


def test_markup_in_captions_stays_text(browser, opened):
    opened(PAIR)
    shown = browser.run("return document.querySelector('main').textContent")
    assert all(text in shown for text in HOSTILE)
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.querySelectorAll('main script, main b, .samples img[src=x]').length") == 0


def test_no_other_script_runs(browser, opened):
    """Not even one that got into the page: the policy names the scripts of the file."""
    opened()
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);"
    )
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.hacked = 1\">');"
    )
    time.sleep(0.2)
    assert browser.run("return window.hacked") is None
    problems = browser.problems()
    assert problems
    assert all("content security policy" in said.lower() for said in problems)


@pytest.mark.parametrize("page", PAGES)
def test_the_keyboard_reaches_every_control(browser, opened, page):
    opened(page)
    wanted = browser.run(
        """const all = document.querySelectorAll("a[href], button, select, summary, [tabindex='0']");
        const seen = [...all].filter((e) => e.checkVisibility() && !e.closest("details:not([open]) > :not(summary)"));
        seen.forEach((e, i) => { e.dataset.control = i; });
        return seen.length;"""
    )
    assert wanted > len(PAGES)
    reached = set()
    for _ in range(wanted + 5):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.add(browser.run("return document.activeElement.dataset.control ?? null"))
    assert {str(i) for i in range(wanted)} <= reached


def test_a_pair_opens_by_keyboard_alone(browser, opened):
    opened("matrix")
    browser.run("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Open the pair').focus()")
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    browser.wait("return location.hash.startsWith('#/pair')")
    browser.wait("return document.activeElement.id === 'main'")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_no_serious_fault(browser, opened, page, dark):
    browser.resize(*DESKTOP, dark=dark)
    opened(page)
    browser.run(AXE)
    found = browser.driver.execute_async_script("axe.run().then(arguments[0])")
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert not serious, [(v["id"], v["help"], [n["html"][:120] for n in v["nodes"]][:3]) for v in serious]
    assert found["passes"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_as_wide_as_a_phone(browser, opened, page):
    browser.resize(*PHONE)
    opened(page)
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]


def test_dark_mode_follows_the_system_and_its_button(browser, opened):
    background = "return getComputedStyle(document.body).backgroundColor"
    paper = "return document.querySelector('.chart').layout.paper_bgcolor"
    opened()
    light = browser.run(background), browser.run(paper)
    browser.resize(*DESKTOP, dark=True)
    opened()
    dark = browser.run(background), browser.run(paper)
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    browser.run("document.getElementById('theme').click()")
    assert (browser.run(background), browser.run(paper)) == light


def test_tables_are_saved_as_they_lie_in_the_results(browser, opened, report_file, tmp_path):
    opened("tables")
    browser.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.run(
        "[...document.querySelectorAll('button')].find((b) => b.textContent === arguments[0]).click()",
        "Save alignment.csv",
    )
    saved = tmp_path / "alignment.csv"
    end = time.monotonic() + 30
    while not saved.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert saved.read_bytes() == (report_file.parent / "tables" / "alignment.csv").read_bytes()


def test_a_changed_score_is_in_the_report_and_the_tables(browser, opened, tmp_path):
    changed = write_report(tmp_path, {**SCORES, ("cnn", "gpt"): 0.1234})
    assert ",cnn,gpt,vision,language,0.12340000," in (tmp_path / "tables" / "alignment.csv").read_text()
    browser.open(changed, PAIR)
    rows = browser.run("return [...document.querySelectorAll('tr')].map((row) => row.textContent)")
    assert [row for row in rows if row.startswith("mutual_knn@100.1234")]
    browser.open(changed)
    assert points(browser)["gpt"][1] == pytest.approx((0.1234 + 0.30) / 2)
