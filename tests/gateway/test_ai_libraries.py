"""A process that has become nobody finds modules where it may not look any more."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent(
    """
    import importlib, os, sys
    hidden, spared = sys.argv[1:]
    sys.path[:0] = [hidden, spared]
    import early
    from kube_gateway._native import drop_privileges
    from kube_gateway.gateway.libraries import open_libraries, use_libraries
    opened = open_libraries() if spared else {}
    drop_privileges()
    use_libraries(opened)
    import late, early.inner
    print(late.WORD, early.inner.WORD, os.getuid())
    """
)


@pytest.fixture
def places(tmp_path):
    hidden = tmp_path / "home" / "lib"
    (hidden / "early").mkdir(parents=True)
    (hidden / "early" / "__init__.py").write_text("")
    (hidden / "early" / "inner.py").write_text("WORD = 'inner'\n")
    (hidden / "late.py").write_text("WORD = 'late'\n")
    spared = tmp_path / "spared"
    spared.mkdir()
    (tmp_path / "home").chmod(0o700)
    yield hidden, spared
    shutil.rmtree(tmp_path, ignore_errors=True)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.root
def test_what_is_imported_late_is_found_in_a_place_that_is_closed_by_then(places):
    done = run(*places)
    assert done.stdout.split()[:2] == ["late", "inner"], done.stderr
    assert done.stdout.split()[2] != "0"


@pytest.mark.root
def test_without_it_it_is_not(places):
    assert "ModuleNotFoundError" in run(places[0], "").stderr


def test_what_can_be_reached_is_left_as_it_is():
    program = (
        "import os, sys\n"
        "from kube_gateway.gateway.libraries import open_libraries, use_libraries\n"
        "before = list(sys.path), len(os.listdir('/proc/self/fd'))\n"
        "use_libraries(open_libraries())\n"
        "print(before == (sys.path, len(os.listdir('/proc/self/fd'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
