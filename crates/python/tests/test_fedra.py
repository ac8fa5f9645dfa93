"""Tests of the installed package; `cargo xtask test python` runs them.

FEDRA_SIMULATE names the program fedra-simulate, whose models have to be the same bits.
"""

import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from importlib.util import find_spec
from pathlib import Path

import fedra
import numpy as np

INPUTS, CLASSES, EXAMPLES = 8, 4, 240
ROOT = Path(__file__).parents[3]
EVERYONE = {"cohort_size": 12, "minimum_cohort": 12, "minimum_reports": 12}
TASK = {
    "title": "Bright places",
    "rounds": 6,
    "model": {
        "input": [INPUTS],
        "loss": "softmax_cross_entropy",
        "layers": [
            {"type": "linear", "outputs": 12},
            {"type": "relu"},
            {"type": "linear", "outputs": CLASSES},
        ],
    },
    "training": {"learning_rate": 0.5, "batch_size": 4},
    "round": EVERYONE,
}
DIRICHLET = {"kind": "dirichlet", "alpha": 1.0}


def images():
    """Rows of bytes whose class is where they are bright."""
    example = np.arange(EXAMPLES)[:, None]
    place = np.arange(INPUTS)[None, :]
    classes = example[:, 0] * 7 % CLASSES
    noise = (example * 31 + place * 17) % 256 % 120
    is_bright = place // (INPUTS // CLASSES) == classes[:, None]
    return (noise + 135 * is_bright).astype(np.uint8), classes.astype(np.uint8)


BYTES, Y = images()
X = (BYTES / 255).astype(np.float32)


def task(**keys):
    return {**copy.deepcopy(TASK), **keys}


def run(given=None, data=(X, Y), **options):
    if isinstance(data, tuple):
        options = {"clients": 12, "partition": DIRICHLET, **options}
    return fedra.simulate(given or TASK, data, **{"evaluation": (X, Y), **options})


def by_client(clients=12):
    return [(X[client::clients], Y[client::clients]) for client in range(clients)]


class Simulate(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_the_command_line_makes_the_same_model(self):
        program = os.environ.get("FEDRA_SIMULATE")
        if program is None:
            self.skipTest("FEDRA_SIMULATE names no fedra-simulate")
        for name, array in (("images", BYTES), ("labels", Y)):
            head = bytes([0, 0, 8, array.ndim])
            dims = b"".join(size.to_bytes(4, "big") for size in array.shape)
            (self.folder / name).write_bytes(head + dims + array.tobytes())
        (self.folder / "sim.toml").write_text(
            f"""
            [simulation]
            clients = 12
            seed = 5
            [data]
            path = "images"
            labels = "labels"
            partition = {{ kind = "dirichlet", alpha = 1.0 }}
            [devices]
            speed = {{ kind = "log_normal", median = 500.0, sigma = 0.5 }}
            upload_mbit = 1.0
            dropout = 0.1
            [task]
            title = "Bright places"
            rounds = 6
            seed = 5
            [task.model]
            input = [{INPUTS}]
            loss = "softmax_cross_entropy"
            layers = [{{ type = "linear", outputs = 12 }}, {{ type = "relu" }},
                      {{ type = "linear", outputs = {CLASSES} }}]
            [task.training]
            learning_rate = 0.5
            batch_size = 4
            [task.round]
            cohort_size = 12
            minimum_cohort = 12
            minimum_reports = 8
            [task.evaluation]
            data = "images"
            labels = "labels"
            """
        )
        command = [program, "run", "sim.toml"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        expected = json.loads((self.folder / "sim/result.json").read_text())
        speed = {"kind": "log_normal", "median": 500.0, "sigma": 0.5}
        result = run(
            task(round={**EVERYONE, "minimum_reports": 8}),
            seed=5,
            devices={"speed": speed, "upload_mbit": 1.0, "dropout": 0.1},
        )
        self.assertEqual(result.sha256, expected["model"])
        self.assertEqual(result.rounds[-1].metric, expected["last"])
        for column in ("bytes_up", "bytes_down"):
            self.assertEqual(result.rounds[column].sum(), expected[column])
        self.assertEqual(result.rounds[-1].seconds, expected["seconds"])
        # The page and the table say the same, but for the experiment's text and the clock.
        page = result.report(self.folder / "report")
        self.assertIn(expected["model"], page.read_text())
        rows = [(self.folder / at / "rounds.csv").read_text() for at in ("sim", "report")]
        self.assertEqual(*(text.splitlines()[1:] for text in rows))

    def test_a_seed_is_one_result_for_every_number_of_threads(self):
        one, three = (run(seed=3, threads=threads) for threads in (1, 3))
        self.assertEqual(one.sha256, three.sha256)
        self.assertEqual(one.safetensors, three.safetensors)
        self.assertEqual(list(one.rounds), list(three.rounds))
        self.assertNotEqual(one.sha256, run(seed=4).sha256)

    def test_the_model_is_in_the_orientation_of_pytorch(self):
        result = run(task(rounds=20))
        shapes = {name: tensor.shape for name, tensor in result.model.items()}
        expected = {"0.weight": (12, 8), "0.bias": (12,), "2.weight": (4, 12), "2.bias": (4,)}
        self.assertEqual(shapes, expected)
        weight, bias, second, last = (
            result.model[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias")
        )
        outputs = np.maximum(X @ weight.T + bias, 0) @ second.T + last
        accuracy = (outputs.argmax(axis=1) == Y).mean()
        self.assertEqual(result.metric, "accuracy")
        self.assertAlmostEqual(result.rounds[-1].metric, accuracy)
        self.assertGreater(accuracy, 0.9)

    def test_a_list_has_the_data_of_each_client(self):
        result = run(data=by_client())
        self.assertEqual([of.reports for of in result.rounds], [12] * 6)
        self.assertEqual(result.rounds[0].weight, EXAMPLES)
        unequal = [(X[:30], Y[:30]), (X[30:], Y[30:])]
        rounds = {"cohort_size": 2, "minimum_cohort": 2, "minimum_reports": 2}
        self.assertEqual(run(task(round=rounds), data=unequal).rounds[0].weight, EXAMPLES)
        # Order and memory layout of an array do not matter, nor its type.
        other = [(np.asfortranarray(x.astype(np.float64)), y.tolist()) for x, y in by_client()]
        self.assertEqual(run(data=other).sha256, result.sha256)

    def test_rounds_are_rows_and_columns(self):
        rounds = run(evaluate_every=4).rounds
        self.assertEqual(rounds["round"].tolist(), [1, 2, 3, 4, 5, 6])
        self.assertEqual(np.isnan(rounds["metric"]).tolist(), [True] * 3 + [False, True, False])
        self.assertIsNone(rounds[0].metric)
        self.assertEqual([of.round for of in rounds[-2:]], [5, 6])
        self.assertEqual(rounds["bytes_up"].dtype, np.int64)
        with self.assertRaisesRegex(KeyError, "the columns are round, seconds"):
            rounds["accuracy"]
        if find_spec("pandas"):
            self.assertEqual(rounds.to_pandas().loc[4, "reports"], 12)

    def test_the_target_and_a_true_answer_end_a_simulation(self):
        reached = run(task(rounds=60), target=0.9)
        self.assertTrue(reached.reached)
        self.assertLess(len(reached.rounds), 60)
        seen = []
        stopped = run(progress=lambda of: seen.append(of) or of.round == 2)
        self.assertEqual(seen, list(stopped.rounds))
        self.assertEqual((len(seen), stopped.reached), (2, False))

    def test_an_exception_of_the_callback_comes_back(self):
        with self.assertRaises(ZeroDivisionError):
            run(progress=lambda of: of.round / 0)

    def test_an_interrupt_ends_a_simulation_without_end(self):
        main, begun = threading.get_ident(), threading.Event()

        def interrupt():
            begun.wait()
            signal.pthread_kill(main, signal.SIGINT)

        # It gets to run, because the simulation lets other threads go on.
        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            run(task(rounds=10**9), progress=lambda _: begun.set())
        thread.join()

    def test_a_kept_simulation_goes_on(self):
        whole = run()
        out = self.folder / "out"
        kept = {"out": out, "resume": True}
        self.assertEqual(len(run(progress=lambda of: of.round == 3, **kept).rounds), 3)
        rest = run(**kept)
        self.assertEqual(rest.sha256, whole.sha256)
        self.assertEqual(rest.rounds["round"].tolist(), [1, 2, 3, 4, 5, 6])
        self.assertTrue((out / "report.html").exists())
        with self.assertRaisesRegex(fedra.ConfigError, "another experiment"):
            run(data=(X[::-1], Y[::-1]), **kept)

    def test_a_task_comes_from_a_file(self):
        path = self.folder / "task.toml"
        path.write_text('[task]\nmodel = "softmax-regression"\nrounds = 1\n')
        pixels = np.zeros((24, 28, 28), np.float32)
        labels = np.arange(24) % 10
        options = {"clients": 12, "partition": {"kind": "iid"}, "evaluation": None}
        self.assertEqual(run(path, (pixels, labels), **options).model["0.weight"].shape, (10, 784))
        path.write_text('[simulation]\n[task]\nmodel = "softmax-regression"\n')
        with self.assertRaisesRegex(fedra.ConfigError, "a whole experiment"):
            run(path, (pixels, labels), **options)

    def test_token_ids_and_other_whole_numbers(self):
        model = {
            "input": [5],
            "elements": "token_ids",
            "vocabulary": 7,
            "loss": "softmax_cross_entropy",
            "layers": [
                {"type": "embedding", "width": 4},
                {"type": "last_step"},
                {"type": "linear", "outputs": 7},
            ],
        }
        tokens = (np.arange(EXAMPLES)[:, None] + np.arange(5)) % 7
        options = {"partition": "iid", "evaluation": None}
        result = run(task(model=model), (tokens, tokens[:, 0]), **options)
        self.assertEqual(result.model["0.weight"].shape, (7, 4))
        with self.assertRaisesRegex(fedra.DataError, "whole numbers from 0"):
            run(task(model=model), (tokens / 1.0, tokens[:, 0]), **options)
        # For a model of values they are values.
        whole, real = (run(data=(BYTES.astype(kind) // 64, Y)) for kind in (np.int64, np.float32))
        self.assertEqual(whole.sha256, real.sha256)

    def test_a_policy_has_its_epsilon(self):
        privacy = {
            "policy": "central",
            "noise": "independent",
            "noise_multiplier": 2.0,
            "clipping_norm": 1.0,
            "epsilon": 100.0,
            "delta": 1e-5,
        }
        last = run(task(privacy=privacy)).rounds[-1]
        account = fedra.privacy.epsilon(2.0, rounds=6, delta=1e-5)
        self.assertAlmostEqual(last.epsilon, account, delta=0.01)

    def test_attackers_do_harm(self):
        honest, attacked = (
            run(task(rounds=20), attack=attack).rounds[-1].loss
            for attack in ((), {"clients": 5, "kind": "sign_flip"})
        )
        self.assertGreater(attacked, honest)

    def test_wrong_settings_say_what_to_change(self):
        for options, expected in (
            ({"given": task(rouds=3)}, "rouds"),
            ({"given": task(model="mnist-3nn")}, "mnist-3nn"),
            ({"given": {**TASK, "rounds": object()}}, "is no value of a setting"),
            ({"given": self.folder / "none.toml"}, "cannot read the task"),
            ({"partition": "idd"}, "unknown variant `idd`"),
            ({"clients": None}, "how many share the examples"),
            ({"clients": 0}, "clients must be 1 to 100000"),
            ({"clients": 3}, "no round would begin"),
            ({"data": by_client(), "partition": "iid"}, "leave out partition"),
            ({"data": by_client(), "clients": 13}, "clients is 13, and data has 12"),
            ({"devices": {"sped": 1}}, "unknown field `sped`"),
            ({"attack": {"clients": 13, "kind": "label_flip"}}, "13 attackers among 12"),
            ({"evaluation": None, "target": 0.9}, "target needs held-out examples"),
            ({"layout": "flat"}, "channels-first"),
            ({"time": "soon"}, "is not a duration.* in `simulation"),
            ({"seed": -1}, "seed: must be a whole number"),
            ({"resume": True}, "resume needs out"),
        ):
            kind = fedra.DataError if "layout" in options else fedra.ConfigError
            with self.subTest(expected), self.assertRaisesRegex(kind, expected):
                run(**options)

    def test_wrong_arrays_say_what_to_give(self):
        spoiled = X.copy()
        spoiled[3, 4] = np.nan
        for data, expected in (
            ((X, Y[1:]), "the same first dimension"),
            ((X[:, 1:], Y), r"shape \[8\], the data set has \[7\]"),
            ((X, Y + 2), "classes 0 to 3"),
            ((X, Y - 0.5), "whole numbers from 0"),
            ((spoiled, Y), "position 28 is not a finite number"),
            ((X.astype(str), Y), "give numbers"),
            ((X[:0], Y[:0]), "at least one example"),
            ((X[:100], Y[:100]), "lower simulation.clients"),
            ([X, Y], r"data\[0\] must be a pair"),
            ([], "data has no client"),
            ([(X, Y), (X[:, 1:], Y)], "differ in shape"),
            ([(X, Y), (X[:0], Y[:0])], "client 1 has no example"),
        ):
            rounds = {"cohort_size": 1, "minimum_cohort": 1, "minimum_reports": 1}
            with self.subTest(expected), self.assertRaisesRegex(ValueError, expected) as told:
                run(task(round=rounds), data)
            self.assertIsInstance(told.exception, fedra.Error)
        with self.assertRaisesRegex(fedra.DataError, "held-out examples do not fit"):
            run(evaluation=(X[:, 1:], Y))

    def test_a_task_that_no_client_can_train_says_what_they_met(self):
        diverging = task(training={"learning_rate": 1e8, "batch_size": 4}, update_range=1)
        with self.assertRaisesRegex(fedra.SimulationError, "learning rate"):
            run(diverging)


class Privacy(unittest.TestCase):
    def test_accounts_agree_with_known_values(self):
        # The example of `smallest_noise_multiplier`, and a value of dp-accounting 0.6.0.
        self.assertAlmostEqual(fedra.privacy.noise(8.0, rounds=20, delta=1e-5), 2.684, places=3)
        poisson = fedra.privacy.epsilon(
            1.1, rounds=14062, delta=1e-5, sampling_rate=256 / 60000
        )
        self.assertAlmostEqual(poisson, 2.381686, delta=0.005)

    def test_the_least_noise_is_enough_and_less_is_not(self):
        rounds = {"rounds": 100, "delta": 1e-6, "sampling_rate": 0.05}
        least = fedra.privacy.noise(2.0, **rounds)
        self.assertLessEqual(fedra.privacy.epsilon(least, **rounds), 2.0)
        self.assertGreater(fedra.privacy.epsilon(least * 0.999, **rounds), 2.0)

    def test_numbers_out_of_range_are_refused(self):
        with self.assertRaisesRegex(fedra.ConfigError, "delta"):
            fedra.privacy.epsilon(1.0, delta=2.0)
        with self.assertRaisesRegex(fedra.ConfigError, "noise multiplier"):
            fedra.privacy.epsilon(-1.0, delta=1e-5)


class Example(unittest.TestCase):
    @unittest.skipUnless(find_spec("sklearn"), "scikit-learn is not installed")
    def test_both_optimizers_reach_the_target(self):
        program = ROOT / "examples/python/simulate.py"
        printed = subprocess.run(
            [sys.executable, program], check=True, capture_output=True, text=True
        ).stdout
        self.assertRegex(printed, r"averaging: 0\.9\d\d after \d+ rounds")
        self.assertRegex(printed, r"momentum: 0\.9\d\d after \d+ rounds")


if __name__ == "__main__":
    unittest.main(testRunner=unittest.TextTestRunner(stream=sys.stdout, verbosity=2))
