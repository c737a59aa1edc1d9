"""One real JupyterLab server and one headless Chromium for all browser tests.

Nothing leaves the machine: the browser's requests to other hosts are refused, except that
3Dmol.js is answered from the npm package of the version that py3Dmol asks for.
"""

from __future__ import annotations

import inspect
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "tests" / ".cache"
SCREENSHOTS = CACHE / "screenshots"

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]

SERVER_ARGS = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--IdentityProvider.token=",
    "--ServerApp.disable_check_xsrf=True",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]

JUPYTER_FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
)

FINGERPRINT = """selector => {
  const own = '.widget-hslider, .widget-vslider, .widget-dropdown, .widget-checkbox';
  return [...document.querySelectorAll(selector)].map(node => {
    const copy = node.cloneNode(true);
    copy.querySelectorAll(own).forEach(control => control.remove());
    const images = [...copy.querySelectorAll('img')].map(img => img.src);
    return copy.textContent + images.join(' ');
  }).join('|');
}"""
"""Text and pictures of the outputs, without the controls' own read-outs."""


class Lab:
    """One browser page on the JupyterLab server, and what a person does with it."""

    def __init__(self, page: Any, url: str, root: Path) -> None:
        self.page = page
        self.url = url
        self.root = root

    def open(self, notebook: str) -> None:
        """Open a notebook by its path under the server's root and wait for its kernel."""
        self.page.goto(f"{self.url}lab/tree/{notebook}?reset", timeout=180_000)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=180_000)
        self.wait_idle()

    def wait_idle(self, timeout_s: float = 180) -> None:
        """Wait until the notebook's kernel has nothing left to do."""
        self.page.wait_for_function(
            "() => jupyterapp.shell.currentWidget?.context?.sessionContext?.session"
            "?.kernel?.status === 'idle'",
            timeout=timeout_s * 1000,
        )

    def run_all(self, timeout_s: float = 420) -> list[dict[str, Any]]:
        """Run all cells as the menu does; return the cells with their outputs."""
        self.page.evaluate(
            "() => { window.labkitRan = false; jupyterapp.commands"
            ".execute('notebook:run-all-cells').then(() => { window.labkitRan = true; }); }"
        )
        self.page.wait_for_function("() => window.labkitRan", timeout=timeout_s * 1000)
        self.wait_idle()
        return self.cells()

    def cells(self) -> list[dict[str, Any]]:
        """Return the notebook's cells as JupyterLab holds them."""
        return self.page.evaluate(
            "() => { const cells = jupyterapp.shell.currentWidget.content.model.cells;"
            " return [...Array(cells.length).keys()].map(i => cells.get(i).toJSON()); }"
        )

    def canvas_colors(self) -> list[int]:
        """Return the number of distinct colors in each canvas of the outputs."""
        found = []
        for canvas in self.page.query_selector_all(".jp-OutputArea canvas"):
            box = canvas.bounding_box()
            if box is None or min(box["width"], box["height"]) < 1:
                continue
            canvas.scroll_into_view_if_needed()
            image = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
            found.append(len(image.getcolors(maxcolors=1 << 24) or ()))
        return found

    def wait_for_canvases(self, count: int, timeout_s: float = 60) -> list[int]:
        """Wait until `count` canvases or more show a picture; return the last counts."""
        deadline = time.monotonic() + timeout_s
        while True:
            colors = self.canvas_colors()
            drawn = len(colors) >= count and all(number > 50 for number in colors)
            if drawn or time.monotonic() > deadline:
                return colors
            self.page.wait_for_timeout(500)

    def fingerprint(self, selector: str = ".jp-OutputArea-output") -> str:
        """Return what the outputs say and show, less the controls themselves."""
        return self.page.evaluate(FINGERPRINT, selector)

    def changes_something(self, control: Any, watch: str, timeout_s: float = 30) -> bool:
        """Move a control by one step; whether that changes what the watched outputs show."""
        before = self.fingerprint(watch)
        self.move(control)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.fingerprint(watch) != before:
                self.wait_idle()
                return True
            self.page.wait_for_timeout(200)
        return False

    def move(self, control: Any) -> None:
        """Move one control by one step: a slider to the right, a list to its next entry."""
        control.scroll_into_view_if_needed()
        if control.evaluate("node => node.tagName") == "SELECT":
            chosen = control.evaluate("node => node.selectedIndex")
            size = control.evaluate("node => node.options.length")
            control.select_option(index=(chosen + 1) % size)
            return
        control.focus()
        at_end = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        control.press("ArrowLeft" if at_end else "ArrowRight")

    def screenshot(self, name: str, selector: str | None = None) -> Path:
        """Save a picture for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        if selector is None:
            self.page.screenshot(path=path)
        else:
            self.page.locator(selector).first.screenshot(path=path)
        return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("browser: no chromium on PATH")
    return found


@pytest.fixture(scope="session")
def lab_server(
    chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Address and root folder of a JupyterLab that holds a copy of the notebooks."""
    base = tmp_path_factory.mktemp("lab")
    root = base / "root"
    shutil.copytree(
        ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns("runs", ".*")
    )
    environment = _environment(base)
    log = (base / "server.log").open("w")
    command = [sys.executable, "-m", "jupyterlab", *SERVER_ARGS]
    command += [f"--ServerApp.root_dir={root}", f"--ServerApp.port={_free_port()}"]
    server = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log)
    try:
        yield _address(server, base), root
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


@pytest.fixture(scope="session")
def three_d_mol() -> bytes:
    """3Dmol.js of the version that py3Dmol asks for, from the npm registry or tests/.cache."""
    import py3Dmol

    address = inspect.signature(py3Dmol.view.__init__).parameters["js"].default
    package = next(part for part in address.split("/") if part.startswith("3dmol@"))
    archive = CACHE / f"{package.replace('@', '-')}.tgz"
    if not archive.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "pack", package, "--silent", "--pack-destination", str(CACHE)],
            check=True,
            capture_output=True,
            timeout=120,
        )
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/build/3Dmol-min.js")
        assert member is not None
        return member.read()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """Headless Chromium with WebGL in software."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield opened
        opened.close()


@pytest.fixture
def lab(browser: Any, lab_server: tuple[str, Path], three_d_mol: bytes) -> Iterator[Lab]:
    """Open a page in a browser context of its own; its kernels end with the test."""
    url, root = lab_server
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route(lambda address: not address.startswith(url), lambda route: route.abort())
    context.route(
        "**/npm/3dmol@*/**",
        lambda route: route.fulfill(body=three_d_mol, content_type="text/javascript"),
    )
    page = context.new_page()
    yield Lab(page, url, root)
    page.evaluate("() => globalThis.jupyterapp?.serviceManager.sessions.shutdownAll()")
    context.close()


@pytest.fixture
def offline_lab(browser: Any, lab_server: tuple[str, Path]) -> Iterator[Lab]:
    """Open a page that reaches the JupyterLab server and nothing else."""
    url, root = lab_server
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route(lambda address: not address.startswith(url), lambda route: route.abort())
    page = context.new_page()
    yield Lab(page, url, root)
    page.evaluate("() => globalThis.jupyterapp?.serviceManager.sessions.shutdownAll()")
    context.close()


def _environment(base: Path) -> dict[str, str]:
    folders = {name: str(base / name.lower()) for name in JUPYTER_FOLDERS}
    for folder in folders.values():
        Path(folder).mkdir()
    quiet = Path(folders["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    # The tests' own backend draws no figures in a notebook; the kernel's does.
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return {**kept, **folders, "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _address(server: subprocess.Popen[bytes], base: Path, timeout_s: float = 120) -> str:
    note = base / "jupyter_runtime_dir" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        if note.is_file():
            url = str(json.loads(note.read_text())["url"])
            port = int(url.rstrip("/").rsplit(":", 1)[1])
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return url
        time.sleep(0.2)
    raise RuntimeError("JupyterLab did not start:\n" + (base / "server.log").read_text()[-2000:])
