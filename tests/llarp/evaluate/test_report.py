"""The report needs nothing but itself, escapes what it is given, and shows the numbers of the summary."""

import io
import re
from html.parser import HTMLParser

import pytest
from evaluation_rows import make_row
from fakes import Corridor, make_episode
from rich.console import Console

from llarp.evaluate.film import write_strips
from llarp.evaluate.report import write_report
from llarp.evaluate.statistics import TOTAL, summarise
from llarp.evaluate.table import summary_table
from llarp.tasks.splits import SPLITS

EN_DASH = "\u2013"


@pytest.fixture(scope="module")
def summary():
    rows = [
        make_row(policy=policy, source=source, split=split, success=number < rate, episode_id=f"{split}-{number}")
        for policy, rate in (("policy", 6), ("blind", 2), ("random", 0), ("expert", 10))
        for source, splits in (("generated", list(SPLITS)), ("released", ["new_scenes", "referring"]))
        for split in splits
        for number in range(10)
    ]
    return summarise(rows)


class Page(HTMLParser):
    """Every tag, every address, and the text between tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.addresses, self.text, self.open = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_kinds_of_facts_have_a_table_and_the_split_has_no_figure_of_the_paper(tmp_path):
    rows = [make_row(split="knowledge", template="knowledge.origin.banana.2+find.0")]
    write_report(tmp_path / "report.html", summarise(rows))
    text = Page((tmp_path / "report.html").read_text()).text
    assert "Success within splits" in text and "knowledge: origin" in text
    console = Console(file=io.StringIO(), width=110)
    console.print(summary_table(summarise(rows)))
    lines = console.file.getvalue().splitlines()
    assert next(line for line in lines if "Knowledge" in line).rstrip().endswith("-")


def test_a_full_report(summary, tmp_path):
    hostile = "<script>alert('x')</script> & co"
    episode = make_episode(instruction=hostile)
    row = make_row(instruction=hostile, episode_id=episode.episode_id, actions=["nav(sofa)"], success=True)
    films = write_strips([row], [episode], Corridor(), 1, tmp_path / "films")
    write_report(
        tmp_path / "report.html",
        summary,
        films,
        curves={"loss/policy": [(0, 2.0), (5, 1.0)], "speed": [(0, 1.0), (5, 2.0)]},
        probe=[{"question": hostile, "patches": 0.94321}],
        provenance={"params": {"train": {"lr": 0.001}}, "commit": hostile},
    )
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags and hostile in page.text
    assert page.tags.count("svg") == 3  # bars of both sources, curves
    assert page.tags.count("img") == 1
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert not re.search(r"@import|url\((?!#)", html)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(
        re.findall(r'id="([^"]+)"', html)
    )
    assert "params.train.lr" in page.text and "0.001" in page.text
    assert "0.943" in page.text and "0.94321" not in page.text
    for split in SPLITS.values():
        assert split.title in page.text


def test_the_table_of_success_holds_the_numbers_of_the_summary(summary, tmp_path):
    write_report(tmp_path / "report.html", summary)
    html = (tmp_path / "report.html").read_text()
    line = html[html.index("<td>New Scenes</td>") :].split("</tr>")[0]
    cells = [re.sub("<[^>]+>", " ", cell).split() for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
    wilson = [["60", "31-83"], ["20", "6-51"], ["0", "0-28"], ["100", "72-100"]]  # of 6, 2, 0 and 10 out of 10
    half = [[rate, interval.replace("-", EN_DASH)] for rate, interval in wilson]
    assert cells == [["New", "Scenes"], [], *half, *half, ["96"]]
    line = html[html.index("<td>Total</td>") :].split("</tr>")[0]
    total = summary.find("policy", "generated", TOTAL)
    assert f"{100 * total.success:.0f}<span" in line
    assert line.count(f"{EN_DASH}</td>") == 4  # no total of two released splits


def test_a_report_of_the_summary_alone_leaves_sections_out(summary, tmp_path):
    write_report(tmp_path / "report.html", summary)
    html = (tmp_path / "report.html").read_text()
    assert 'id="training"' not in html and 'id="probe"' not in html and 'id="films"' not in html
    assert "None was given" in html


def test_the_same_summary_gives_the_same_bytes(summary, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, summary)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_table_on_the_terminal(summary):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    lines = console.export_text().splitlines()
    new_scenes = [line.split() for line in lines if "New Scenes" in line]
    expected = ["New", "Scenes", "60", "(31-83)", "20", "(6-51)", "0", "(0-28)", "100", "(72-100)", "96"]
    assert new_scenes == [expected, expected]  # generated and released
    assert sum("Total" in line for line in lines[1:]) == 1
