"""The report in a real browser: Debian's chromium, without a window, from file: URLs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
from report.pages import write_full_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PHONE, DESKTOP = 360, 1280

# Runs in a copy of the page: collects faults, clicks, and tells the page around it what came of that.
WATCH = """<script>
const faults = [];
addEventListener("error", event => faults.push(String(event.message || event.target.outerHTML)), true);
addEventListener("securitypolicyviolation", event => faults.push(event.violatedDirective + event.blockedURI));
</script>"""
CHECK = """<script>
addEventListener("load", () => {
  const table = document.querySelector("#scores table.sortable");
  const column = place => Array.from(table.tBodies[0].rows, row => row.cells[place].textContent.trim());
  const sorted = [];
  for (const place of [0, 0, 2]) {
    const head = table.tHead.rows[0].cells[place];
    head.querySelector("button").click();
    sorted.push([head.getAttribute("aria-sort"), column(place)]);
  }
  const marked = table.querySelectorAll("[aria-sort]").length;
  const root = document.documentElement;
  const clipped = Array.from(document.querySelectorAll("svg[role=img]")).filter(svg => {
    const frame = svg.getBoundingClientRect();
    return Array.from(svg.querySelectorAll("text")).some(text => {
      const place = text.getBoundingClientRect();
      return place.left < frame.left - 1 || place.right > frame.right + 1 || place.bottom > frame.bottom + 1;
    });
  }).map(svg => svg.getAttribute("aria-label"));
  parent.postMessage(JSON.stringify({
    url: location.protocol, faults, sorted, marked, clipped, width: innerWidth, scroll: root.scrollWidth,
    images: Array.from(document.images, image => [image.complete, image.naturalWidth]),
  }), "*");
});
</script>"""
AROUND = """<!DOCTYPE html><title>test</title><pre id="answers"></pre><script>
addEventListener("message", event => {{ document.getElementById("answers").append(event.data + "\\n"); }});
</script>{frames}"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the page says of itself at the width of a phone and of a desk, and what chromium wrote to its log."""
    if CHROMIUM is None:
        pytest.skip(f"there is no browser: none of {', '.join(NAMES)} is installed")
    folder = tmp_path_factory.mktemp("browser")
    text = write_full_report(folder).read_text(encoding="utf-8")
    page = folder / "watched.html"
    # First of all, and last of all.
    page.write_text(text.replace("<title>", f"{WATCH}<title>", 1).replace("</body>", f"{CHECK}</body>"), "utf-8")
    frames = "".join(f'<iframe src="watched.html" width="{width}" height="900"></iframe>' for width in (PHONE, DESKTOP))
    around = folder / "around.html"
    around.write_text(AROUND.format(frames=frames), "utf-8")
    found = run_chromium(folder / "profile", around.as_uri())
    lines = re.search(r'<pre id="answers">(.*?)</pre>', found.stdout, re.DOTALL).group(1).strip().splitlines()
    told = [json.loads(line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) for line in lines]
    return {answer["width"]: answer for answer in told}, found.stderr


def run_chromium(profile, url):
    """Runs chromium until the page is at rest; stdout is the page as it is then."""
    command = [CHROMIUM, "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=5000", "--enable-logging=stderr", "--window-size=1600,1000"]
    # As root, as in containers, chromium starts only without its own sandbox.
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    found = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    return found


def test_no_fault_is_reported(answers):
    told, log = answers
    assert set(told) == {PHONE, DESKTOP}
    for answer in told.values():
        assert answer["url"] == "file:" and answer["faults"] == []
    assert "CONSOLE" not in log


def test_images_load(answers):
    for answer in answers[0].values():
        assert len(answer["images"]) == 9
        assert all(complete and width > 100 for complete, width in answer["images"])


def test_tables_sort(answers):
    for answer in answers[0].values():
        by_name, by_name_again, by_number = answer["sorted"]
        assert by_name == ["ascending", ["dog", "kite"]]
        assert by_name_again == ["descending", ["kite", "dog"]]
        assert by_number[0] == "descending" and by_number[1] == sorted(by_number[1], reverse=True)
        assert answer["marked"] == 1


def test_nothing_is_wider_than_the_screen_or_clipped(answers):
    for width, answer in answers[0].items():
        assert answer["scroll"] <= width
        assert answer["clipped"] == []
