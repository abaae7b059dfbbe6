"""Pictures of a report on a screen, on a phone and in the dark: python tests/screenshots.py REPORT FOLDER."""

import sys
from pathlib import Path

from conftest import SCREENS, launched, opened

report, folder = map(Path, sys.argv[1:])
with launched() as browser:
    for name, screen in SCREENS.items():
        with opened(browser, report.resolve(), **screen) as page:
            page.screenshot(path=folder / name / "first.png")
            for each in page.locator("section").all():
                each.evaluate("each => each.scrollIntoView({behavior: 'instant'})")
                page.screenshot(path=folder / name / f"{each.get_attribute('id')}.png")
            for each in page.locator("#figures figure").all():
                each.screenshot(path=folder / name / f"{each.get_attribute('id')}.png")
        print(folder / name)
