from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import waiting
from waiting import communicate, exit_code, run, wait_until

WORK = "import time\nwhile time.process_time() < 1: pass\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="CPU times of processes are read from /proc"
)
def test_what_sleeps_is_given_up_and_what_works_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0.1)
    monkeypatch.setattr(waiting, "STILL_LOOKS", 4)
    assert exit_code(subprocess.Popen(python(WORK))) == 0
    # The work is done further down.
    assert run(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORK!r}])"))
    for code in ("import sys; sys.stdin.read()", "import threading; threading.Event().wait()"):
        sleeping = subprocess.Popen(python(code), stdin=subprocess.PIPE)
        with pytest.raises(AssertionError, match="hangs: it sleeps"):
            exit_code(sleeping)
        assert sleeping.wait() == -9
    monkeypatch.setattr(waiting, "MOST_CPU_SECONDS", 0.5)
    circling = subprocess.Popen(python("while True: pass"))
    with pytest.raises(AssertionError, match="hangs: it used"):
        exit_code(circling)
    assert circling.wait() == -9


@pytest.mark.slow
def test_all_that_is_given_and_written_arrives() -> None:
    code = "import sys, time\ndata = sys.stdin.read(); time.sleep(0.3)\n"
    code += "sys.stdout.write(data); sys.stdout.flush(); time.sleep(0.3); sys.stderr.write(data)"
    process = subprocess.Popen(
        python(code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    data = "0123456789" * 30_000  # more than a pipe holds
    assert communicate(process, data) == (data, data)
    done = run(python("import sys; print(1); sys.exit(3)"))
    assert (done.returncode, done.stdout, done.stderr) == (3, "1\n", "")


@pytest.mark.slow
def test_what_ends_without_doing_it_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "done"
    with subprocess.Popen(python(f"open({str(file)!r}, 'w')")) as process:
        wait_until(file.exists, process)
    with subprocess.Popen(python("")) as process, pytest.raises(AssertionError, match="ended bef"):
        wait_until((tmp_path / "never").exists, process)
