"""Networks by name: the project's, and those of other packages."""

import subprocess
import sys

import pytest

from deformer.experiments import get_experiment
from deformer.network.model import Deformer
from deformer.network.registry import network_class


def test_the_deformer_and_the_rivals_are_found():
    assert network_class("deformer") is Deformer
    experiment = get_experiment("benchmarks.rivals:tiny_vibe")
    assert experiment.name == "tiny_vibe"
    assert network_class(experiment.network).__name__ == "Vibe"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformer", "there is no network 'transformer'; known are deformer"),
        ("benchmarks.rivals:no", "there is no network 'benchmarks.rivals:no'; known are .*vibe"),
        ("json:vibe", "there is no network 'json:vibe'; known are none"),
        ("this:vibe", "is vibe of the package this, which this command does not know"),
    ],
)
def test_other_names_are_refused_and_import_nothing(name, message):
    with pytest.raises(ValueError, match=message):
        network_class(name)
    assert "this" not in sys.modules


def test_an_experiment_of_a_package_without_experiments_is_refused():
    with pytest.raises(ValueError, match="'json:tiny': json has no experiments"):
        get_experiment("json:tiny")
    with pytest.raises(ValueError, match="'gone:tiny': gone has no experiments"):
        get_experiment("gone:tiny")
    with pytest.raises(ValueError, match="there is no experiment 'tiny_wibe'.*tiny_vibe"):
        get_experiment("benchmarks.rivals:tiny_wibe")


def test_evaluation_knows_the_rivals_of_a_checkpoint():
    code = """
import benchmarks.evaluate
from deformer.network.registry import network_class
print(network_class("benchmarks.rivals:vibe").__name__)
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "Vibe\n"
