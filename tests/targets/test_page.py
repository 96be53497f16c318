"""The page on machine descriptions: its example loads, and it explains every key."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from qmc import cli
from qmc.layer import LoopDim, Operand
from qmc.targets import Packing, load_target
from qmc.targets.schema import (
    AxisSpec,
    BandwidthSpec,
    ConstraintSpec,
    EnergySpec,
    HopSpec,
    KernelsSpec,
    MacSpec,
    MemorySpec,
    NetworkSpec,
    TargetSpec,
    WidthCyclesSpec,
    WidthEnergySpec,
)

PAGE = Path(__file__).parent.parent.parent / "docs" / "targets.md"


def test_example_of_the_page_is_a_machine(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "lanes.yaml"
    file.write_text(example, encoding="utf-8")
    target = load_target(file)
    assert target.mac.instances == 8
    assert target.memory("buffer").size_bytes == 32 << 10
    assert target.memory("buffer").bypass == {Operand.W}
    assert target.memory("accumulator").packing is Packing.SINGLE
    assert target.memory("accumulator").temporal.maximum == {LoopDim.Q: 16}


def test_commands_of_the_page_give_what_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for command in commands.splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 0, command
    printed = capsys.readouterr().out
    for shown in ("no mistakes", "337.5654 µJ", "7,225,344", "proved best", "7,502,284,800"):
        assert shown in printed


@pytest.mark.parametrize(
    "model",
    [
        TargetSpec,
        MemorySpec,
        MacSpec,
        ConstraintSpec,
        AxisSpec,
        EnergySpec,
        BandwidthSpec,
        NetworkSpec,
        HopSpec,
        KernelsSpec,
        WidthCyclesSpec,
        WidthEnergySpec,
    ],
)
def test_page_names_every_key(model: type[TargetSpec]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert not [key for key in model.model_fields if not re.search(rf"\b{key}\b", text)]
