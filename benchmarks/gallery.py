"""Execute every notebook in its quick preset and publish it as HTML (``make gallery``).

Sliders and pictures show in the HTML; they answer only in JupyterLab. The pages land in
``runs/gallery``; notebooks that are done already are not run again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from labkit.batch.runner import describe, exit_code
from labkit.batch.sweep import run

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Publish all notebooks; return 1 if one failed."""
    out = ROOT / "runs" / "gallery"
    worst = 0
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        item, status, _executed = run(notebook, {"preset": "quick"}, out=out / notebook.stem)
        print(f"{notebook.stem}: {describe(status)}", flush=True)
        worst = max(worst, exit_code(status))
        convert = [sys.executable, "-m", "nbconvert", "--to", "html", "--log-level", "WARN"]
        page = ["--output-dir", str(out), "--output", notebook.stem, str(item.output)]
        subprocess.run([*convert, *page], check=True)
        print(f"  {out / notebook.stem}.html")
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
