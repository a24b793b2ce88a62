"""Which files are watched for changes."""

from __future__ import annotations

import os
from pathlib import Path

from mainspring.cli.reload import look


def test_python_files_are_seen_and_others_are_not(tmp_path: Path) -> None:
    for name in ("a.py", "b.txt", "deep/er/c.py", ".git/d.py", "venv/pyvenv.cfg", "venv/e.py", "venv/lib/f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n", encoding="utf-8")
    seen = {str(Path(path).relative_to(tmp_path)) for path in look(tmp_path)}
    assert seen == {"a.py", "deep/er/c.py"}


def test_a_change_is_seen_by_time_or_by_size(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n", encoding="utf-8")
    os.utime(file, ns=(1, 1))
    before = look(tmp_path)
    os.utime(file, ns=(2, 2))
    touched = look(tmp_path)
    file.write_text("x = 22\n", encoding="utf-8")
    os.utime(file, ns=(2, 2))
    assert before != touched != look(tmp_path)
