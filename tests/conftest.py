"""What the tests share: the package on the path, and projects in folders of their own."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parents[1]
SQL = (
    [path.read_text() for path in sorted((ROOT / "reports/marts").glob("*.sql"))],
    (ROOT / "reports/checks.sql").read_text(),
)
LISTS = {name: ROOT / f"reports/{name}.csv" for name in ("published", "superclasses", "claims", "glossary")}
PERTURBATIONS = ROOT / "scripts/patchwork/perturbations"
sys.path.insert(0, str(ROOT / "scripts"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many processes as cores test at once

import pytest
from filelock import FileLock
from playwright.sync_api import sync_playwright

from patchwork.catalogue import catalogue

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENS = {
    "light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
MEASURES = catalogue(ROOT / "scripts/patchwork/measures")
COLUMNS = {name: measure["columns"] for name, measure in MEASURES.items()}


class Project:
    """A copy of the workflow with a config of its own, in which Snakemake runs."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @classmethod
    def create(cls, folder, config="tests/config.yaml"):
        Path(folder).mkdir(parents=True)
        for part in ("Snakefile", "rules", "scripts", "reports", "envs", "profiles", "slurm"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, Path(folder, part))
        shutil.copy2(ROOT / config, Path(folder, "config.yaml"))
        return cls(folder)

    def copy(self, folder):
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Project(folder)

    def command(self, *words):
        return [sys.executable, "-m", "snakemake", "--cores", "2", *words]

    def run(self, *words, check=True):
        """Run Snakemake to its end; its output, both streams. Fails the test if it fails and `check`."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def plan(self, *words):
        """How many jobs of each rule Snakemake would run: {rule: jobs}, without `all`."""
        told = self.run("--dry-run", *words)
        if "Nothing to be done" in told:
            return {}
        table = told.split("Job stats:")[-1].split("total")[0]
        jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
        return {rule: count for rule, count in jobs.items() if rule != "all"}

    def path(self, name):
        return self.folder / name

    def edit(self, name, old, new):
        """Replace `old`, which must be there, in a file of the project."""
        text = self.path(name).read_text()
        assert old in text, f"{name} has no {old!r}"
        self.path(name).write_text(text.replace(old, new, 1))


def save_random_weights(path, entry, classes, seed=0):
    """Weights of a network that learnt nothing."""
    import torch

    from patchwork import models

    torch.manual_seed(seed)
    models.save(path, models.create(entry, classes).state_dict())


def finished_project(folder, config):
    """The project of a config after a whole run. Copy it before you change it."""
    project = Project.create(folder / "project", config)
    save_random_weights(project.path("cnn.safetensors"), {"timm": "test_resnet"}, 10)
    project.run()
    return project


def predictions(project):
    """The bytes of every strip and of what was measured, by their paths."""
    root = project.path("results")
    files = [path for kind in ("predictions", "measures") for path in (root / kind).rglob("*.parquet")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(files)}


def pytest_collection_modifyitems(items):
    """Files that need the finished run come last, but for the one that makes it: so nobody waits for it."""
    need = dict.fromkeys(item.path for item in items if "finished" in item.fixturenames)
    first = next(iter(need), None)
    items.sort(key=lambda item: (item.path != first, item.path in need))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One for all processes that test: the first to come makes it."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "finished"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            finished_project(shared.with_suffix(".unfinished"), "tests/config.yaml")
            shared.with_suffix(".unfinished").rename(shared)
    return Project(shared / "project")


@pytest.fixture
def project(finished, tmp_path):
    return finished.copy(tmp_path / "project")


@pytest.fixture(scope="session")
def real():
    """A folder of real photographs and weights, where there is one."""
    folder = os.environ.get("PATCHWORK_REAL")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PATCHWORK_REAL names no folder")
    return Path(folder)


@pytest.fixture(scope="module")
def chromium():
    """A browser, where one is installed."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with launched() as browser:
        yield browser


def blocks(text, language):
    """The blocks of a language that a page (Markdown) shows."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.S | re.M)
    return [textwrap.dedent(block) for block in found]


@contextmanager
def launched():
    """The browser of this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, path, **screen):
    """A page whose charts are all drawn. Nothing may go wrong on it, and nothing may be loaded."""
    page = browser.new_page(**screen)
    errors, requests = [], []
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url.partition(",")[0]))
    page.goto(path.as_uri())
    page.wait_for_function("!document.querySelector('.chart:not(:has(svg))')")
    yield page
    page.close()
    assert errors == [] and {*requests} - {"data:image/webp;base64"} == {path.as_uri()}


def make_room(disk, size="1g"):
    """Let a small disk grow."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


@contextmanager
def served(handler):
    """The address of a server on this machine that answers requests with a handler."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if os.geteuid() or subprocess.run(command).returncode:
        pytest.skip("a disk of its own needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
