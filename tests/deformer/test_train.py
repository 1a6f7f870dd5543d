"""Whole runs in one process: interrupted and resumed, stopped by a signal."""

import io
import json
import os
import shutil
import signal
import threading
import time
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from rich.console import Console

from deformer import train
from deformer.data import stream
from deformer.data.crops import warp_crops
from deformer.data.stream import StreamConfig
from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import write_json
from deformer.program.lock import LOCK_FILE
from deformer.program.processor import processor
from deformer.program.stopping import STOPPED
from deformer.train import warp_on
from deformer.training import checkpoint, learner
from deformer.training.checkpoint import load_checkpoint
from deformer.training.distributed import Place
from tests.deformer.small_runs import (
    VERY_SMALL,
    Killed,
    assert_same_run,
    assert_same_tensors,
    changed,
    checkpoint_steps,
    interrupt,
    records,
    run,
)


def test_a_run_leaves_checkpoints_and_a_log(whole):
    assert [r["step"] for r in records(whole) if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records(whole) if r["kind"] == "validation"] == [0, 4, 6]
    assert list((whole / "tensorboard").iterdir())
    last = load_checkpoint(whole)
    assert last.step == 6
    assert last.tensors.keys() == {"model", "discriminator", "optimizer"}
    assert last.metrics["pa_mpjpe_mm"] == records(whole)[-1]["pa_mpjpe_mm"]
    assert last.command.startswith("python -m deformer.train ")
    assert last.machine == {
        "device": "CPU", "processes": 1, "processor": processor(), "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def test_a_signal_ends_the_wait_for_a_batch(whole, dataset, tmp_path, monkeypatch, count_faults):
    """As when a server stalls: the steps before it are saved."""
    out, real, closed = tmp_path / "run", stream.Stream.batches, []

    def stalled(self, first: int, last: int):
        with closing(real(self, first, last)) as batches:
            yield from islice(batches, 3)
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            try:
                time.sleep(60)
            finally:
                closed.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(stream.Stream, "batches", stalled)
        began = time.monotonic()
        status = run(dataset, out, changed("validation", split=None), save_every=100)
    ended = (status, checkpoint_steps(out), closed)
    survived = ended == (STOPPED, [3], [1])
    count_faults("training: signal while it waits for a batch", 1, int(survived))
    assert survived, ended
    assert time.monotonic() - began < 30
    assert run(dataset, out, changed("validation", split=None), resume=True) == 0
    assert_same_tensors(load_checkpoint(whole).tensors, load_checkpoint(out).tensors)


@pytest.mark.parametrize(("step", "last"), [(3, 2), pytest.param(4, 4, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(whole, dataset, tmp_path, monkeypatch, step, last):
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, step)
        run(dataset, out)
    assert checkpoint_steps(out)[-1] == last
    # What a kill leaves in the middle of writing
    (out / "checkpoints" / ".step-00000006.part").mkdir()
    (out / "checkpoints" / ".step-00000006.part" / "model.safetensors").write_bytes(b"half")
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "kind": "tr')
    assert run(dataset, out, resume=True) == 0
    assert_same_run(out, whole)


# After step 3 four steps are done, and a validation is due
@pytest.mark.parametrize(
    ("kind", "step"),
    [(signal.SIGTERM, 3), pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow)],
)
def test_stopped_by_a_signal_it_saves_at_that_step(
    whole, dataset, tmp_path, monkeypatch, kind, step
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, step, kind)
        assert run(dataset, out) == STOPPED == 143
    assert checkpoint_steps(out)[-1] == step + 1
    assert run(dataset, out, resume=True) == 0
    assert_same_run(out, whole)


def test_what_the_last_run_had_not_noted_the_next_one_does(whole, dataset, tmp_path, monkeypatch):
    """It was stopped where a validation is due; the next one was killed after that, and another
    between a checkpoint and the note that it is the best."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, 3, signal.SIGTERM)
        assert run(dataset, out) == STOPPED
    for module, name in ((train, "add_metrics"), (train, "settle"), (checkpoint, "settle")):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(module, name, _kill)
            run(dataset, out, resume=True)
    assert checkpoint_steps(out)[-1] == 6
    assert run(dataset, out, resume=True) == 0
    assert_same_run(out, whole)
    assert (out / "best.json").read_text() == (whole / "best.json").read_text()


def _kill(*_):
    raise Killed


def test_a_stop_does_not_wait_for_the_next_line_of_the_log(dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, 0, signal.SIGTERM)
        assert run(dataset, tmp_path / "run", log_every=3) == STOPPED
    assert checkpoint_steps(tmp_path / "run") == [1]


def test_it_starts_from_another_runs_model_which_is_read_once(whole, dataset, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(whole, start)
    experiment = changed("optim", replace(VERY_SMALL, start_from=str(start)), lr=1e-9)
    run(dataset, tmp_path / "one", experiment, steps=1)
    begun, found = load_checkpoint(whole), load_checkpoint(tmp_path / "one")
    for name, value in begun.tensors["model"].items():
        assert torch.allclose(found.tensors["model"][name], value, atol=1e-7), name
    assert found.origin == {
        "total_steps": 1, "start_sha256": begun.model_sha256, "precision": "float32",
    }  # fmt: skip
    run(dataset, start, steps=7, resume=True)  # it holds another model now
    with pytest.raises(ValueError, match="another model than .*start holds now .step 7"):
        run(dataset, tmp_path / "one", experiment, steps=2, resume=True)
    for path in start.rglob("state.json"):  # of another version it cannot be compared
        write_json(path, json.loads(path.read_text()) | {"format": 0})
    assert run(dataset, tmp_path / "one", experiment, steps=2, resume=True) == 0
    shutil.rmtree(start)
    assert run(dataset, tmp_path / "one", experiment, steps=3, resume=True) == 0
    assert load_checkpoint(tmp_path / "one").origin == found.origin | {"total_steps": 3}
    with pytest.raises(ValueError, match="--start-from .*start names no run"):
        run(dataset, tmp_path / "another", experiment)


def test_an_output_folder_whose_name_is_no_text_is_refused(dataset, tmp_path):
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    with pytest.raises(UnreadableFileError, match=r"udcff.*is not UTF-8"):
        run(dataset, named)
    assert not named.exists()


def test_a_start_of_another_network_is_refused_and_of_another_hand_is_told(
    whole, dataset, tmp_path
):
    wider = changed("model", replace(VERY_SMALL, start_from=str(whole)), ffn=32)
    with pytest.raises(ValueError, match=r"--start-from .* is of another network"):
        run(dataset, tmp_path / "wider", wider)
    shutil.copytree(whole, tmp_path / "start")
    for path in (tmp_path / "start").rglob("state.json"):
        state = json.loads(path.read_text())
        state["hand"] = {"name": "mano", "sha256": "0"}
        write_json(path, state)
    other = replace(VERY_SMALL, start_from=str(tmp_path / "start"))
    said = io.StringIO()
    run(dataset, tmp_path / "other", other, Console(file=said), steps=1)
    assert "was trained with the hand mano, the shards are labelled with standin" in said.getvalue()


def test_a_run_that_cools_down_is_resumed_to_the_same_end_alone(dataset, tmp_path, monkeypatch):
    experiment = changed("optim", cooldown=1.0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, 3)
        run(dataset, tmp_path, experiment)
    with pytest.raises(ValueError, match="of a run of 6 steps, .* and --steps is now 9"):
        run(dataset, tmp_path, experiment, steps=9, resume=True)
    assert run(dataset, tmp_path, experiment, resume=True) == 0
    rates = [r["rate"] for r in records(tmp_path) if r["kind"] == "train"]
    assert rates == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_two_trainings_into_one_folder(dataset, tmp_path, monkeypatch):
    message = r"another training \(process \d+ on .*\) is writing"
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=message):
        patch.setattr(learner.Learner, "step", lambda *_: run(dataset, tmp_path / "run"))
        run(dataset, tmp_path / "run")
    assert not list(tmp_path.rglob(LOCK_FILE))


def test_a_run_is_resumed_in_its_precision_alone(dataset, tmp_path):
    run(dataset, tmp_path, steps=1, precision="bf16")
    assert load_checkpoint(tmp_path).origin["precision"] == "bf16"
    with pytest.raises(ValueError, match="trained in bf16, now float32: resume with --precision"):
        run(dataset, tmp_path, steps=2, resume=True)
    assert run(dataset, tmp_path, steps=2, resume=True, precision="bf16") == 0


def test_a_checkpoint_from_before_these_were_kept_is_resumed(dataset, tmp_path):
    run(dataset, tmp_path, steps=1)
    path = load_checkpoint(tmp_path).folder / "state.json"
    state = json.loads(path.read_text())
    del state["origin"], state["machine"], state["command"]
    del state["experiment"]["optim"]["cooldown"]
    write_json(path, state)
    old = load_checkpoint(tmp_path)
    assert (old.origin, old.machine, old.command, old.experiment) == ({}, {}, None, VERY_SMALL)
    assert run(dataset, tmp_path, steps=2, resume=True) == 0
    assert load_checkpoint(tmp_path).origin == {"total_steps": 2}  # the others nobody knows


def test_a_finished_run_resumed_stays_as_it_is(whole, dataset):
    before = records(whole), load_checkpoint(whole).tensors, checkpoint_steps(whole)
    assert run(dataset, whole, resume=True) == 0
    assert (records(whole), checkpoint_steps(whole)) == (before[0], before[2])
    assert_same_tensors(load_checkpoint(whole).tensors, before[1])


def test_without_steps_it_runs_for_the_epochs_of_the_experiment(dataset, tmp_path):
    """Of single frames, without a discriminator."""
    window = replace(VERY_SMALL.stream.window, num_frames=1)
    experiment = replace(changed("stream", window=window), adversarial=False)
    experiment = changed("optim", experiment, epochs=1)
    assert run(dataset, tmp_path / "run", experiment, steps=None) == 0
    assert checkpoint_steps(tmp_path / "run")[-1] == 3  # 10 windows in batches of 4


def test_the_log_holds_every_term_the_rate_and_the_speed(whole):
    first = json.loads((whole / "log.jsonl").read_text().splitlines()[1])
    terms = {"vertices", "joints", "pose", "shape"}
    terms |= {f"monocular_{name}" for name in terms} | {
        "motion_vertices", "motion_joints", "motion_pose", "joints_2d", "smooth", "adversarial",
        "total", "grad_norm", "discriminator", "saturation",
    }  # fmt: skip
    assert first.keys() == terms | {"step", "kind", "rate", "windows_per_s", "data_wait"}
    weights = VERY_SMALL.losses
    beside = {"total", "grad_norm", "discriminator", "saturation"}
    total = sum(weights.weight_of(name) * first[name] for name in terms - beside)
    assert first["total"] == pytest.approx(total, rel=1e-5)
    assert first["windows_per_s"] > 0 and 0 <= first["data_wait"] <= 1


def test_a_gpu_warps_large_colour_images_and_readers_do_the_rest():
    gpu, cpu = (Place(torch.device(kind, 0)) for kind in ("cuda", "cpu"))
    assert warp_on(gpu, StreamConfig()) == warp_on(gpu, StreamConfig(size=256)) == gpu.device
    others = (
        (gpu, StreamConfig(size=160)),
        (gpu, StreamConfig(input="depth")),
        (cpu, StreamConfig()),
    )
    assert not any(warp_on(*other) for other in others)


def test_training_on_frames_that_the_device_warps(whole, dataset, tmp_path, monkeypatch):
    warped = []
    monkeypatch.setattr("deformer.train.warp_on", lambda place, _: place.device)
    monkeypatch.setattr(
        stream, "warp_crops", lambda *args: warped.append(args) or warp_crops(*args)
    )
    run(dataset, tmp_path, changed("optim", micro_batch=3), steps=2)
    for expected, found in zip(records(whole)[:3], records(tmp_path)[:3], strict=True):
        assert found.pop("kind") == expected.pop("kind")  # validation, then two steps
        assert found == pytest.approx(expected, rel=0.01)
    assert len(warped) == 4  # a step of validation before and after
