"""Files of several processes."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.files import first_written


def test_of_processes_that_start_at_once_ones_text_is_everybodys(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    assert first_written(path, "mine") == "mine"
    assert first_written(path, "another's") == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["settings.json"]
    program = "import sys; from pathlib import Path; from training.files import first_written; "
    program += "print(first_written(Path(sys.argv[1]), sys.argv[2] * 10_000)[0])"

    def start(letter: str) -> str:
        command = [sys.executable, "-c", program, str(tmp_path / "both.json"), letter]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, "abcd"))) == 1
