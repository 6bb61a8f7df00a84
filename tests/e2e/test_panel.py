"""The side panel in a real JupyterLab with a real kernel."""

import pytest
from playwright.sync_api import expect

LOAD = "%load_ext mlops_nb"
CHAIN = (LOAD, "x = 1", "y = x + 1", "1 / 0", "z = 0")


@pytest.fixture
def chain(notebook):
    """Five cells of which four ran: load, x, y of x, one that fails; the fifth did not run."""
    book = notebook(*CHAIN)
    book.run("c0", "c1", "c2", "c3")
    book.expect_states(c1="fresh", c2="fresh", c3="failed", c4="not run")
    return book


def test_cells_show_their_states_in_the_panel_and_at_their_prompts(chain):
    chain.write("c1", "x = 2")
    chain.expect_states(c1="edited", c2="fresh")
    chain.run("c1")
    chain.expect_states(c1="fresh", c2="stale", c3="failed", c4="not run")
    assert [chain.badge(cell) for cell in ("c1", "c2", "c3", "c4")] == ["fresh", "stale", "failed", "not run"]
    expect(chain.section("status")).to_contain_text("1 stale")
    for cell, name in (("c1", "fresh"), ("c2", "stale"), ("c3", "failed"), ("c4", "not run")):
        expect(chain.row(cell).get_by_role("img", name=name, exact=True)).to_be_visible()


def test_the_selected_cell_says_why_it_is_stale_and_what_it_stands_on(chain):
    chain.write("c1", "x = 2")
    chain.run("c1")
    chain.row("c2").click()
    selected = chain.section("selected")
    expect(selected).to_contain_text("stale")
    expect(selected.locator(".jp-MlopsReason")).to_contain_text("x")
    expect(selected).to_contain_text("writes")
    selected.get_by_role("button", name="x = 2").click()
    expect(chain.row("c1")).to_have_attribute("aria-selected", "true")
    assert active(chain) == "c1"


def test_an_edit_taken_back_is_no_edit(chain):
    for source, state in (("x = 1  # hm", "edited"), ("x = 1", "fresh")):
        chain.write("c1", source)
        chain.command("docmanager:save")
        chain.expect_states(c1=state)
    chain.write("c1", "x = 1  # hm")
    chain.command("docmanager:save")
    chain.open()
    chain.expect_states(c1="edited", c2="fresh")
    chain.write("c1", "x = 1")
    chain.expect_states(c1="fresh")


def test_a_cell_that_just_ran_is_not_edited_whatever_its_characters(notebook):
    book = notebook(LOAD, "s = 'žluťoučký kůň 🐎 日本'", "\n\nt = 1\n", "u = '\\ud83d'\t# é")
    book.run("c0", "c1", "c2", "c3")
    book.expect_states(c1="fresh", c2="fresh", c3="fresh")


def test_tags_and_components_stand_beside_cells_that_never_ran(notebook):
    book = notebook(("x = 1", ["step:load", "heavy"]), "%%step train\ny = 2")
    expect(book.row("c0").locator("[data-kind=step]")).to_have_text("load")
    expect(book.row("c0").locator("[data-kind=tag]")).to_have_text("heavy")
    expect(book.row("c1").locator("[data-kind=step]")).to_have_text("train")
    expect(book.row("c1").locator("code")).to_have_text("y = 2")


def test_states_survive_a_reload(chain):
    chain.write("c1", "x = 2")
    chain.run("c1")
    chain.expect_states(c2="stale")
    chain.command("docmanager:save")
    chain.open()
    chain.expect_states(c1="fresh", c2="stale", c3="failed", c4="not run")
    expect(chain.section("status")).to_contain_text("Watching this notebook")
    expect(chain.section("status")).not_to_contain_text("not in memory")
    chain.run("c2")
    chain.expect_states(c2="fresh")


def test_states_are_there_while_the_kernel_is_busy(chain):
    chain.write("c4", "import time; time.sleep(8)")
    chain.command("docmanager:save")
    chain.start("c4")
    chain.load()
    chain.expect_states(c1="fresh", c2="fresh", c3="failed", c4="not run")
    assert chain.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status") != "idle"
    chain.expect_states(c4="fresh")


def test_states_survive_a_kernel_restart_and_say_that_the_values_are_gone(chain):
    chain.restart()
    expect(chain.section("status")).to_contain_text("Kernel restarted: values are no longer in memory")
    chain.expect_states(c1="fresh", c2="fresh", c3="failed", c4="not run")
    chain.open()
    expect(chain.section("status")).to_contain_text("Recorded in an earlier session: values are not in memory")
    chain.expect_states(c1="fresh", c2="fresh", c3="failed", c4="not run")
    chain.run("c0", "c1")
    expect(chain.section("status")).to_contain_text("Watching this notebook")
    expect(chain.section("status")).not_to_contain_text("not in memory")
    chain.expect_states(c1="fresh", c4="not run")


def test_without_the_extension_the_panel_offers_to_load_it(notebook):
    book = notebook("a = 1")
    book.run("c0")
    expect(book.section("status")).to_contain_text("mlops_nb is not loaded")
    book.expect_states(c0="not run")
    assert book.badge("c0") is None
    book.page.get_by_role("button", name="Load extension").click()
    expect(book.section("status")).to_contain_text("Watching this notebook", timeout=15000)
    book.run("c0")
    book.expect_states(c0="fresh")
    assert book.badge("c0") == "fresh"


def test_loading_the_extension_in_a_cell_is_noticed(notebook):
    book = notebook(LOAD)
    expect(book.section("status")).to_contain_text("not loaded")
    book.run("c0")
    expect(book.section("status")).to_contain_text("Watching this notebook")


def test_text_of_the_notebook_is_shown_as_text(notebook):
    evil = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
    book = notebook(LOAD, (f"v = {evil!r}", [evil, f"step:{evil}"]), f"raise ValueError({evil!r})")
    book.run("c0", "c1", "c2")
    book.expect_states(c1="fresh", c2="failed")
    expect(book.row("c1")).to_contain_text("<img src=x onerror=")
    book.row("c2").click()
    expect(book.section("selected")).to_contain_text("<script>")
    assert book.page.evaluate("() => window.pwned ?? null") is None
    assert book.page.locator("#mlops-nb-panel img, #mlops-nb-panel script").count() == 0


def test_the_list_is_used_with_the_keyboard(chain):
    chain.row("c1").click()
    chain.page.locator("#mlops-nb-panel [role=listbox]").focus()
    chain.page.keyboard.press("ArrowDown")
    expect(chain.row("c2")).to_have_attribute("aria-selected", "true")
    assert active(chain) == "c1"
    chain.page.keyboard.press("End")
    expect(chain.row("c4")).to_have_attribute("aria-selected", "true")
    chain.page.keyboard.press("Enter")
    chain.page.wait_for_function("() => document.activeElement.closest('.jp-Notebook') !== null")
    assert active(chain) == "c4"


def test_the_panel_follows_the_notebook(chain):
    chain.activate("c3")
    expect(chain.row("c3")).to_have_attribute("aria-selected", "true")
    chain.command("notebook:move-cell-up")
    expect(chain.page.locator("#mlops-nb-panel [role=option]").nth(2)).to_have_attribute("id", "jp-mlops-cell-c3")
    chain.command("notebook:delete-cell")
    expect(chain.row("c3")).to_have_count(0)
    chain.expect_states(c1="fresh", c2="fresh", c4="not run")


def active(book):
    return book.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCell.model.id")
