"""What the kept page calls things; `test_keep` reads a whole one."""

from types import SimpleNamespace

from benchmarks.keep.page import _device_text


def test_processes_on_a_cpu_are_no_several_cpus():
    def text(device: str | None, processes: int) -> str:
        run = SimpleNamespace(device=device, processes=processes, trained_in="float32")
        return _device_text(run)

    assert text("CPU", 1) == "CPU, float32"
    assert text("CPU", 2) == "CPU, 2 processes, float32"
    assert text("NVIDIA H100", 8) == "8 × NVIDIA H100, float32"
    assert text(None, 1) == "–"
