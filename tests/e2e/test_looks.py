"""How the panel looks in light and dark: readable in both, and pictured in docs/images when MLOPS_NB_SCREENSHOTS is set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"
TEXT, SHAPE = 4.5, 3.0  # the least contrast that WCAG 2.2 AA asks of text and of shapes
CELLS = (
    "%load_ext mlops_nb",
    "import numpy as np\nimport pandas as pd\n\nrng = np.random.default_rng(2013)",
    """%%step load
flights = pd.DataFrame({
    'origin': rng.choice(['EWR', 'JFK', 'LGA'], 400),
    'scheduled': pd.date_range('2013-01-01', periods=400, freq='h'),
    'arr_delay': rng.normal(5, 20, 400),
})""",
    """%%feature origin_lateness --entity origin --timestamp scheduled --owner ann --tags delays,hourly --description "Mean delay before"
late = flights.arr_delay.groupby(flights.origin).transform(lambda s: s.shift().expanding().mean())
flights.assign(late=late)""",
    "%%test data --name delays_are_known --on flights\nassert flights.arr_delay.notna().all()",
    ("delayed = flights.arr_delay >= 15\nshare = delayed.groupby(flights.origin).mean()", ["step:summary", "report"]),
    "%%test data --name few_are_late --on share --severity warn\nassert share.max() < 0.1",
    "share.round(3)",
    "assert share.index.isin(['EWR', 'JFK']).all()",
    "share.plot.bar()",
)
CONTRAST = """selector => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const ground = node => {
    if (!node) return [255, 255, 255];
    const color = parts(getComputedStyle(node).backgroundColor);
    return color[3] === 0 ? ground(node.parentElement) : over(color, ground(node.parentElement));
  };
  const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  return [...document.querySelectorAll('#mlops-nb-panel ' + selector)].map(node => {
    const under = ground(node);
    const [low, high] = [light(under), light(over(parts(getComputedStyle(node).color), under))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
}"""


@pytest.fixture
def book(notebook):
    """A notebook with every state in it, promoted and run."""
    book = notebook(*CELLS, name="lateness.ipynb")
    book.run(*(f"c{number}" for number in range(9)))
    book.expect_states(c8="failed")
    book.command("docmanager:save")
    command = "from mlops_nb.cli import main; main()"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "MLOPS_NB"))}
    subprocess.run([sys.executable, "-c", command, "run", "lateness.ipynb"], cwd=book.folder, env=environ, capture_output=True, check=False)
    book.write("c2", CELLS[2].replace("(5, 20, 400)", "(4, 20, 400)"))
    book.run("c1", "c2")  # the generator anew: its earlier run has moved it on
    book.write("c4", CELLS[4] + "  # all of them")
    book.expect_states(c2="fresh", c4="edited", c5="stale", c8="failed", c9="not run")
    book.section("run").get_by_text("load").wait_for(timeout=20000)
    book.activate("c5")
    return book


def test_the_panel_is_readable_in_light_and_dark(book, tmp_path):
    folder = IMAGES if os.environ.get("MLOPS_NB_SCREENSHOTS") else tmp_path
    folder.mkdir(exist_ok=True)
    book.page.set_viewport_size({"width": 1400, "height": 1400})
    book.command("application:toggle-left-area")
    for theme, name in (("JupyterLab Light", "light"), ("JupyterLab Dark", "dark")):
        book.command("apputils:change-theme", theme=theme)
        book.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
        book.page.wait_for_timeout(1000)  # the theme's transitions
        for selector, least in ((".jp-MlopsLine", TEXT), (".jp-MlopsChip", TEXT), (".jp-MlopsLink", TEXT), ("p", TEXT), (".jp-MlopsGlyph", SHAPE)):
            found = book.page.evaluate(CONTRAST, selector)
            assert found, selector
            assert min(found) >= least, (theme, selector, min(found))
        assert (folder / f"panel-{name}.png").write_bytes(book.page.screenshot()) > 10_000
