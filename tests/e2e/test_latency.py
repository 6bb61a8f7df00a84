"""How long after a cell's end the panel shows it."""

import statistics
import sys

LEAST = 40
LIMIT_MS = 100
ROUNDS = 3
# The cell prints the clock at its end; the page notes the clock when the row's execution count changes. One machine, one clock.
WATCH = """id => {
  window.seen = [];
  new MutationObserver(() => window.seen.push(performance.timeOrigin + performance.now()))
    .observe(document.getElementById('jp-mlops-cell-' + id), { subtree: true, childList: true, characterData: true });
}"""
ENDED = """id => {
  const cell = window.jupyterapp.shell.currentWidget.content.widgets.find(w => w.model.id === id);
  return cell.model.outputs.toJSON().map(o => o.text).join('');
}"""


def test_the_panel_shows_a_cells_end_within_a_tenth_of_a_second(notebook, capsys):
    book = notebook("%load_ext mlops_nb", "import time", "print(time.time() * 1000)")
    book.run("c0", "c1", "c2")
    book.expect_states(c2="fresh")
    book.page.evaluate(WATCH, "c2")
    for _ in range(5):
        one(book)
    # Other work on the machine only ever adds: the first round within the limit says what the panel itself takes.
    for _ in range(ROUNDS):
        taken = [one(book) for _ in range(LEAST)]
        p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
        with capsys.disabled():
            sys.stdout.write(f"\ncell end -> panel: p50 {p50:.0f} ms, p95 {p95:.0f} ms over {len(taken)} runs\n")
        if p95 <= LIMIT_MS:
            break
    assert p95 <= LIMIT_MS


def one(book):
    """Milliseconds from the end of one run of c2 to the change of its row."""
    book.page.evaluate("() => { window.seen = []; }")
    book.run("c2")
    book.page.wait_for_function("() => window.seen.length > 0", timeout=10000)
    return book.page.evaluate("() => window.seen[0]") - float(book.page.evaluate(ENDED, "c2"))
