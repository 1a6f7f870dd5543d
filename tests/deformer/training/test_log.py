import io
import json
import threading

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deformer.files.foreign import UnreadableFileError
from deformer.files.whole import NoRoomError
from deformer.training.log import Journal
from tests.full_disk import little_room

VALUES = {"total": 12.5, "vertices": 0.25, "windows_per_s": 80.0, "data_wait": 0.125}


def _journal(run, first_step=0, total_steps=100) -> Journal:
    run.mkdir(exist_ok=True)
    return Journal(run, first_step, total_steps, Console(file=io.StringIO(), width=200))


def _said(journal: Journal) -> str:
    return journal.console.file.getvalue()


def _steps(journal: Journal) -> list[int]:
    return [json.loads(line)["step"] for line in journal.path.read_text().splitlines()]


def test_records_go_to_the_log_and_to_tensorboard(tmp_path):
    journal = _journal(tmp_path)
    journal.log(1, "train", {"total": 3.5})
    journal.log(2, "validation", {"pa_mpjpe_mm": 9.25})
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"step": 1, "kind": "train", "total": 3.5},
        {"step": 2, "kind": "validation", "pa_mpjpe_mm": 9.25},
    ]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {"train/total", "validation/pa_mpjpe_mm"}
    (event,) = board.Scalars("validation/pa_mpjpe_mm")
    assert (event.step, event.value) == (2, 9.25)


def test_no_room_for_the_first_of_it_or_a_record(tmp_path):
    no_room = rf"no space left on the disk of {tmp_path} .*run the same command with --resume$"
    with little_room(30), pytest.raises(NoRoomError, match=no_room):
        _journal(tmp_path)
    assert list((tmp_path / "tensorboard").iterdir()) == []
    journal = _journal(tmp_path)
    with little_room(30), pytest.raises(NoRoomError, match=no_room):
        journal.log(1, "train", {"total": 3.5})


def test_no_room_for_tensorboard_is_told_at_once(tmp_path):
    before = set(threading.enumerate())  # other tests' servers may still be among them
    journal = _journal(tmp_path)
    many = {f"name{k}": 1.0 for k in range(20)}  # more than a record of the log before it
    journal.path.unlink()
    journal.path.symlink_to("/dev/null")
    with little_room(100), pytest.raises(NoRoomError, match=r"with --resume$"):
        journal.log(1, "train", many)
    assert set(threading.enumerate()) <= before


def test_tensorboard_drops_what_comes_after_the_step_it_goes_on_from(tmp_path):
    journal = _journal(tmp_path)
    for step in (2, 4, 6):
        journal.log(step, "train", {"total": 1.0})
    _journal(tmp_path, first_step=4).log(6, "train", {"total": 2.0})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/total")] == [(2, 1), (4, 1), (6, 2)]


def test_a_resumed_log_goes_on_after_its_step(tmp_path):
    journal = _journal(tmp_path)
    for step in (2, 4, 6, 8):
        journal.log(step, "train", {"total": 1.0})
    journal.log(8, "validation", {"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 10, "kind": "train", "to')  # killed while it wrote
    journal = _journal(tmp_path, first_step=6)
    assert _steps(journal) == [2, 4, 6]
    journal.log(8, "train", {"total": 2.0})
    assert _steps(journal) == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "it is a Git LFS pointer"),
        (b"\xff\xfe\x00\n", "can't decode byte"),
        (b'{"kind": "train"}\n', "step"),
    ],
)
def test_another_file_in_the_logs_place_stops_a_resumed_run(tmp_path, content, fault):
    (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(
        UnreadableFileError, match=rf"log\.jsonl is no .*{fault}.*take it away$"
    ) as e:
        _journal(tmp_path, first_step=2)
    assert "\n" not in str(e.value)
    assert (tmp_path / "log.jsonl").read_bytes() == content


def test_a_run_from_the_beginning_begins_its_log_anew(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "kind": "train"}\n')
    assert _steps(_journal(tmp_path)) == []


@pytest.mark.parametrize(
    ("now", "left"), [(100.0, " 0m00s left"), (130.9, " 2m34s left"), (7300.0, " 10h00m left")]
)
def test_the_console_line_tells_progress(tmp_path, monkeypatch, now, left):
    clock = iter([100.0, now])
    monkeypatch.setattr("deformer.training.log.time.monotonic", lambda: next(clock))
    journal = _journal(tmp_path, first_step=40)
    journal.show_training(50, VALUES)  # after ten steps, with 50 to go
    line = _said(journal)
    for part in ("step 50/100", "loss 12.50", "vertices 0.25", "80.0 windows/s", "data 12%"):
        assert part in line
    assert left in line
    journal.show_validation(1200, {"loss": 3.0, "pa_mpjpe_mm": 8.126})
    assert "step 1,200  validation  loss 3.00  pa_mpjpe_mm 8.13" in _said(journal)


def _show(journal: Journal, saturations: list[float]) -> int:
    """How often it warns."""
    before = _said(journal).count("motion discriminator")
    for step, saturation in enumerate(saturations):
        journal.show_training(step, VALUES | {"saturation": saturation})
    return _said(journal).count("motion discriminator") - before


def test_a_saturated_discriminator_is_warned_about_after_twenty_lines(tmp_path):
    journal = _journal(tmp_path)
    assert _show(journal, [0.97] * 19) == 0
    assert _show(journal, [0.97]) == 1
    for text in ("saturation 0.97", "lower --optim.lr-discriminator", "--discriminator.noise"):
        assert text in _said(journal)
    assert _show(journal, [0.99] * 40) == 2  # again and again, but seldom
    assert _show(journal, ([0.99] * 19 + [0.5]) * 3) == 0  # it recovers
