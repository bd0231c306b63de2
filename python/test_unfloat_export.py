"""Tests of unfloat_export against torch: `python python/test_unfloat_export.py`, in an environment with torch.

What is written is read back and run by torch's own functions where that is simple; that unfloat gives torch's outputs on
these files is tested by `tests/pytorch_arch.rs`, on fixtures that this exporter made.
"""

import pathlib
import sys
import tempfile
import tomllib
import unittest

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures" / "pytorch")]
from modules import BinarizeConv2d, BinarySign, Block, Vgg  # noqa: E402
from unfloat_export import ExportError, export  # noqa: E402


def written(model, *inputs, **options):
    """The arrays and the architecture of a model, and what is to be mended."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net"
        unknown = export(model, inputs, path, **options)
        with np.load(f"{path}.npz") as arrays:
            arrays = dict(arrays)
        return arrays, tomllib.loads(pathlib.Path(f"{path}.toml").read_text(encoding="utf-8")), unknown


def kinds(document):
    return [layer["kind"] for layer in document["layer"]]


class Export(unittest.TestCase):
    def test_a_sequential_keeps_its_names_and_tensors(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
        arrays, document, unknown = written(model, torch.zeros(1, 3, 4, 4))
        self.assertEqual(unknown, [])
        self.assertEqual(document["input"], [3, 4, 4])
        self.assertEqual(kinds(document), ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"])
        self.assertEqual([layer["name"] for layer in document["layer"]], ["0", "1", "2", "3", "4"])
        state = model.state_dict()
        self.assertEqual(set(arrays), set(state))
        for key, value in state.items():
            np.testing.assert_array_equal(arrays[key], value.numpy())

    def test_a_layer_alone_and_the_training_flag(self):
        model = nn.Linear(3, 2)
        arrays, document, _ = written(model, torch.zeros(1, 3))
        self.assertTrue(model.training)
        self.assertEqual(document["layer"][0]["name"], "0")
        self.assertEqual(set(arrays), {"0.weight", "0.bias"})

    def test_the_tutorials_vgg(self):
        _, document, _ = written(Vgg(4), torch.zeros(1, 3, 32, 32))
        self.assertEqual(kinds(document).count("BinarizeConv2d"), 6)
        self.assertIn({"name": "view", "kind": "View", "shape": [-1, 256]}, document["layer"])
        self.assertEqual(document["layer"][-1], {"name": "classifier.2", "kind": "LogSoftmax"})

    def test_residuals_and_what_modules_overwrite(self):
        for overwriting in (True, False):
            model = Block(4, clone=False)
            for module in model.modules():
                if isinstance(module, BinarizeConv2d):
                    module.overwriting = overwriting
            _, document, _ = written(model, torch.zeros(1, 4, 6, 6))
            by_name = {layer["name"]: layer for layer in document["layer"]}
            self.assertEqual(by_name["conv1"]["overwrites_input"], overwriting)
            self.assertNotIn("overwrites_input", by_name["conv2"])
            self.assertEqual(by_name["add"]["from"], ["bn2", "input"])

    def test_the_sign_of_zero_is_found_by_trial(self):
        for zero in (-1, 0, 1):
            _, document, _ = written(nn.Sequential(BinarySign(zero)), torch.zeros(1, 4))
            self.assertEqual(document["layer"][0]["zero"], zero)

    def test_a_module_that_is_used_twice_has_one_key(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 3)

            def forward(self, x):
                return self.fc(F.relu(self.fc(x)))

        _, document, _ = written(Twice(), torch.zeros(1, 3))
        self.assertEqual(document["layer"][2], {"name": "fc_1", "kind": "Linear", "key": "fc", "in_features": 3, "out_features": 3})

    def test_modules_that_cannot_be_traced_are_named(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(3))

            def forward(self, x):
                return x * self.weight if x.sum() > 0 else x

        _, document, unknown = written(nn.Sequential(Odd()), torch.zeros(1, 3))
        self.assertEqual(unknown, ["0 (Odd)"])
        self.assertEqual(kinds(document), ["Odd"])
        _, document, unknown = written(
            nn.Sequential(Odd()), torch.zeros(1, 3), kinds={"Odd": lambda m: ("Clamp", {"min": 0.0})}
        )
        self.assertEqual((unknown, document["layer"][0]["min"]), ([], 0.0))

    def test_everything_that_cannot_be_said_is_said_at_once(self):
        class Bad(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
                self.norm = nn.BatchNorm2d(4, track_running_stats=False)

            def forward(self, x):
                return torch.cumsum(self.norm(self.conv(x)), 1)

        with self.assertRaises(ExportError) as caught:
            written(Bad(), torch.zeros(1, 3, 4, 4))
        for word in ("padding_mode", "track_running_stats", "cumsum"):
            self.assertIn(word, str(caught.exception))

    def test_a_fixed_batch_and_mixed_samples_are_refused(self):
        class Fixed(nn.Module):
            def forward(self, x):
                return x.view(1, 12)

        class Mixed(nn.Module):
            def forward(self, x):
                return x.view(-1, 2)

        for model in (Fixed(), Mixed()):
            with self.assertRaises(ExportError):
                written(model, torch.zeros(1, 3, 4))

    def test_the_same_model_gives_the_same_bytes(self):
        model = Vgg(2)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a", "b"):
                export(model, torch.zeros(1, 3, 32, 32), f"{folder}/{name}")
            read = lambda name: pathlib.Path(f"{folder}/{name}").read_bytes()
            self.assertEqual(read("a.npz"), read("b.npz"))
            self.assertEqual(read("a.toml"), read("b.toml"))


if __name__ == "__main__":
    unittest.main()
