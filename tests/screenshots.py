"""Pictures of a report on a screen, on a phone and in the dark: python tests/screenshots.py REPORT FOLDER."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from conftest import SCREENS, opened

report, folder = map(Path, sys.argv[1:])
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    for name, screen in SCREENS.items():
        with opened(browser, report.resolve(), **screen) as page:
            page.screenshot(path=folder / name / "first.png")
            for each in page.locator("section").all():
                each.evaluate("each => each.scrollIntoView({behavior: 'instant'})")
                page.screenshot(path=folder / name / f"{each.get_attribute('id')}.png")
            for each in page.locator("#figures figure").all():
                each.screenshot(path=folder / name / f"{each.get_attribute('id')}.png")
        print(folder / name)
