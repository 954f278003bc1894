"""The walk through Conv2d as a script. As a page, which is a notebook that is run, `make docs` builds it."""

import subprocess
import sys

from paths import ROOT


def test_walk_runs_as_a_script_and_says_which_digits_it_has(tmp_path):
    """Its assertions hold; and a torchvision that does not import is named in a line, not an error."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('made for another torch')\n")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "conv2d.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "scikit-learn's digits, as torchvision's MNIST is not here: made for another torch" in done.stdout
    assert "(3, 1, 3, 3)" in done.stdout
    figures = sorted(tmp_path.glob("conv2d-figures/*.png"))
    assert len(figures) == done.stdout.count("figure:") == 9
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)
