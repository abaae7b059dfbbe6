"""The report of a whole run in a browser: on a screen, on a phone, in the dark, by mouse and by keyboard."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from conftest import SCREENS, opened


@pytest.fixture(scope="module")
def report(finished):
    return finished.path("results/report.html")


@pytest.mark.parametrize("screen", SCREENS)
def test_the_report_can_be_read(chromium, report, tmp_path, screen):
    with opened(chromium, report, **SCREENS[screen]) as page:
        for figure in page.locator("#figures figure").all():
            marks = figure.locator(".chart svg [class*='mark-'] :is(path, text, rect, line)").count()
            assert marks > 5 or "Nothing was measured" in figure.inner_text(), figure.get_attribute("id")
        wide, given = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert wide <= given
        found = Axe().run(page).response
        assert len(found["passes"]) > 20
        assert [each["id"] for each in found["violations"] if each["impact"] in ("serious", "critical")] == []
        page.screenshot(path=tmp_path / f"{screen}.png")
    picture = Image.open(tmp_path / f"{screen}.png").convert("L")
    ground = picture.getpixel((picture.width - 3, 3))
    assert (ground > 200) == (screen != "dark")
    assert len(picture.getcolors()) > 50


def test_claims_are_sorted_and_chosen(chromium, report):
    with opened(chromium, report) as page:
        table = page.locator("#claims table")
        rows, titles = table.locator("tbody tr:visible"), table.locator("thead th")

        def column(place):
            return rows.locator(f"td:nth-child({place})").all_inner_texts()

        every = column(2)
        assert len(every) > 20
        for order in ("ascending", "descending"):
            titles.nth(1).locator("button").click()
            assert titles.nth(1).get_attribute("aria-sort") == order
            assert column(2) == sorted(every, reverse=order == "descending")
        page.locator("#claims select").select_option("not measured")
        assert 0 < len(column(2)) < len(every) and {*column(2)} == {"not measured"}
        page.locator("#claims input[type=search]").fill("SHAPE")
        chosen = rows.all_inner_texts()
        assert 0 < len(chosen) < every.count("not measured")
        assert all("shape" in row.lower() for row in chosen)
        assert page.locator("#claims output").inner_text() == f"{len(chosen)} of {len(every)} rows"


def test_all_that_can_be_used_is_reached_by_keyboard(chromium, report):
    with opened(chromium, report) as page:
        wanted = page.evaluate("""() => {
            const found = document.querySelectorAll(
                "a[href], button, input, select, summary, [tabindex='0']");
            const seen = [...found].filter(each => each.checkVisibility());
            seen.forEach((each, place) => { each.dataset.place = place; });
            return seen.length;
        }""")
        reached = []
        for _ in range(wanted):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.dataset.place"))
        assert reached == [str(place) for place in range(wanted)]
        page.keyboard.press("Shift+Tab")
        page.locator(".skip").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#main"


def test_a_chart_is_drawn_anew_when_the_screen_turns_dark(chromium, report):
    with opened(chromium, report) as page:
        label = page.locator(".chart svg text").first
        light = label.get_attribute("fill")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "light => document.querySelector('.chart svg text').getAttribute('fill') !== light", arg=light
        )
