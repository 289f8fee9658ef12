"""Chapter 3 by one command: tables beside the thesis's, kept runs, and verdicts that follow from the figures."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.autoencoders.autoencoder import Autoencoder
from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.losses import mean_squared_error
from models.autoencoders.points import Points
from tests.training.test_variables import write_transients
from training import autoencode, probes
from training import representation_figures as figures
from training import representation_findings as findings
from training import representation_tables as tables
from training.__main__ import main
from training.data import synthetic
from training.data.curves import Curves
from training.errors import OutOfTime
from training.representations import SIZES, Bench, Cell, Parts, cell_of

CPU = torch.device("cpu")


def _represent(output: Path, *options: str) -> int:
    return main(["represent", "--output", str(output), "--quick", "--device", "cpu", *options])


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 3.2, quickly."""
    output = tmp_path_factory.mktemp("represent")
    assert _represent(output, "--table", "3.2") == 0
    return output


def _rows(output: Path, table: str) -> list[list[str]]:
    lines = (output / f"{table}.md").read_text().splitlines()
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in lines
        if line.startswith(("| mse", "| cross-entropy", "| likelihood"))
    ]


def test_a_table_stands_beside_the_thesiss_and_names_the_size_of_every_row(quick: Path) -> None:
    rows = _rows(quick, "table-3.2")
    assert len(rows) == 12
    assert all(row[5] == "quick" and row[6] == "1 of 1" for row in rows)
    assert all(row[7] == "1" for row in rows)
    by_parts = {(row[0], row[3], row[4]): row[8:] for row in rows}
    assert "(62.41 ± 15.46)" in by_parts["mse", "mha", ""][0]
    assert "(98.52 ± 1.70)" in by_parts["cross-entropy", "mlp", ""][1]
    assert "(81.51 ± 16.93)" in by_parts["cross-entropy", "lstm", "mtan"][3]
    assert (quick / "reconstructions-syn-b.png").read_bytes().startswith(b"\x89PNG")


def test_the_latent_space_is_drawn_as_each_probe_sees_it(tmp_path: Path) -> None:
    assert _represent(tmp_path, "--table", "3.3", "--seeds", "1", "--minutes", "10") == 0
    assert (tmp_path / "latent-space-syn-c.png").read_bytes().startswith(b"\x89PNG")
    curves = synthetic.make("syn-c", {"train": 30, "test": 20}, seed=0, n_points=15)
    model = Autoencoder(AutoencoderConfig(loss="likelihood", d_head=4, harmonics=2)).eval()
    picture = figures.latent_space(model, curves, most_epochs=3)
    titles = [axes.get_title(loc="left") for axes in picture.axes]
    assert titles[0] == "classes"
    assert [re.sub(r"\d+\.\d %", "N %", title) for title in titles[1:]] == ["linear probe, N %", "mlp probe, N %"]
    assert all(sum(np.size(line.get_xdata()) for line in axes.lines) == 40 for axes in picture.axes)


def test_a_quick_run_decides_nothing(quick: Path) -> None:
    text = (quick / "findings.md").read_text()
    assert "| not judged: quick |" in text
    assert "- the offline linear probe beats its online one on macho" in text.partition("Not run:")[2]
    assert not any(verdict in text for verdict in ("| holds |", "| contradicted |", "| undecided |"))


def test_what_was_run_is_not_run_again_and_what_is_missing_is(quick: Path) -> None:
    cells = sorted((quick / "cells").glob("*.json"))
    assert len(cells) == 12
    before = {cell: cell.read_text() for cell in cells}
    lost = next(cell for cell in cells if "_lstm_none_mse" in cell.name)
    lost.unlink()
    times = {cell: cell.stat().st_mtime_ns for cell in cells if cell != lost}
    assert _represent(quick, "--table", "3.2") == 0
    assert lost.read_text() == before[lost]  # by its seed the same
    assert times == {cell: cell.stat().st_mtime_ns for cell in cells if cell != lost}


def test_without_minutes_nothing_is_begun_and_the_table_says_so(tmp_path: Path) -> None:
    assert _represent(tmp_path, "--table", "3.1", "--minutes", "1e-9") == 0
    assert not (tmp_path / "cells").exists()
    rows = _rows(tmp_path, "table-3.1")
    assert len(rows) == 12
    assert all(row[6] == "0 of 1" and row[8].startswith("not run (") for row in rows)


def test_a_run_that_was_damaged_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cells").mkdir()
    for damaged in ("{", '{"settings": {}}'):
        (tmp_path / "cells" / "syn-a_mha_none_mha_none_mse_quick_0.json").write_text(damaged)
        assert _represent(tmp_path, "--table", "3.1") == 1
        assert "delete it to run it again" in capsys.readouterr().err


def test_a_directory_has_runs_of_one_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = cell_of("syn-a", Parts(loss="mse"), "quick")
    Bench(tmp_path, {}, CPU, precision="bfloat16").run(cell, 0, until=np.inf)
    kept = (tmp_path / "cells" / f"{cell.name}_0.json").read_text()
    assert _represent(tmp_path, "--table", "3.1") == 1
    assert "a run in bfloat16, not float32: name another directory" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "cells" / f"{cell.name}_0.json").read_text() == kept


def test_a_run_that_diverges_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_transients(tmp_path / "bts", each=12)
    train = autoencode.train

    def diverging(config: AutoencoderConfig, *arguments: Any, **options: Any) -> autoencode.Trained:
        if config.pre_encoder == "mtan":
            monkeypatch.setattr(autoencode, "LEARNING_RATE", np.inf)
        try:
            return train(config, *arguments, **options)
        finally:
            monkeypatch.setattr(autoencode, "LEARNING_RATE", probes.LEARNING_RATE)

    monkeypatch.setattr(autoencode, "train", diverging)
    options = ("--table", "3.8", "--data", f"ztf-bts={source}")
    assert _represent(tmp_path / "out", *options) == 0
    assert "training has diverged" in capsys.readouterr().err
    rows = {(row[1], row[2]): row for row in _rows(tmp_path / "out", "table-3.8")}
    assert len(rows) == 8
    for (pre_encoder, _), row in rows.items():
        assert row[6] == ("0 of 1, 1 diverged" if pre_encoder == "mtan" else "1 of 1")
    assert _represent(tmp_path / "out", *options) == 0
    assert "training has diverged" not in capsys.readouterr().err  # it is not tried again


def test_encoders_on_real_light_curves_are_fine_tuned_too(tmp_path: Path) -> None:
    source = write_transients(tmp_path / "bts", each=12)
    assert _represent(tmp_path / "out", "--table", "3.7", "--table", "3.8", "--data", f"ztf-bts={source}") == 0
    rows = _rows(tmp_path / "out", "table-3.8")
    assert len(rows) == 8
    assert "(94.54 ± 0.54)" in rows[0][8]
    assert "(72.01 ± 0.26)" in rows[3][8]
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 8  # 3.8 is made of 3.7's
    assert "(20.64 ± 0.33)" in _rows(tmp_path / "out", "table-3.7")[0][8]
    page = (tmp_path / "out" / "table-3.7.md").read_text()
    assert "ztf-bts, standing for the thesis's set" in page
    assert re.search(r"of each class: [^,]+ \d+ / \d+, ", page)


def test_only_what_a_table_shows_is_fine_tuned(tmp_path: Path) -> None:
    sources = {"ztf-bts": write_transients(tmp_path / "bts", each=12)}
    cell = cell_of("ztf-bts", Parts(decoder="lstm"), "quick")
    bench = Bench(tmp_path / "out", sources, CPU)
    assert "fine-tuned" not in bench.run(cell, 0, until=np.inf)
    assert not list(bench.missing([cell]))
    own = Bench(tmp_path / "out", sources, CPU, tunes_all=True)
    assert list(own.missing([cell])) == [(cell, 0)]  # a table of one's own does show it
    assert "fine-tuned" in own.run(cell, 0, until=np.inf)


def test_what_most_findings_rest_on_is_run_first(tmp_path: Path) -> None:
    rows = [cell_of(data, parts, None) for data in ("asas", "syn-a") for parts in tables.DECODER_ROWS]
    cells = [*rows, *(cell_of("asas", parts, None) for parts in tables.ENCODER_ROWS[1:])]
    order = [cell for cell, seed in Bench(tmp_path, {}, CPU).missing(cells) if seed == 0]
    assert {(cell.data, cell.size.name) for cell in order[:4]} == {("syn-a", "full")}
    assert {cell.data for cell in order[4:16]} == {"asas"}
    assert {cell.parts for cell in order[4:12]} == set(tables.ENCODER_ROWS)
    assert all(cell.parts.post_decoder is None for cell in order[12:17])


def test_any_parts_make_an_autoencoder_by_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, wrong = tmp_path / "own.toml", tmp_path / "wrong.toml"
    own.write_text(
        'encoder = "lstm"\npre_encoder = "mtan"\ndecoder = "resnet"\npost_decoder = "mtan"\nloss = "likelihood"\n'
    )
    assert _represent(tmp_path / "out", "--autoencoder", str(own), "--on", "syn-b") == 0
    (row,) = _rows(tmp_path / "out", "autoencoders")
    assert row[:6] == ["likelihood", "mtan", "lstm", "resnet", "mtan", "quick"]
    assert all(re.fullmatch(r"[\d.]+", cell) for cell in row[8:-1])  # of one seed nothing is spread
    assert row[-1] == "not measured"  # fine-tuning: there are no validation light curves
    for text, reason in (('decoder = "resnet"', "needs a post-decoder"), ("layers = 3", "unexpected keyword")):
        wrong.write_text(text)
        assert _represent(tmp_path / "out", "--autoencoder", str(wrong)) == 1
        assert reason in capsys.readouterr().err
    assert _represent(tmp_path / "out", "--on", "asas") == 1
    assert "--on asas: --data NAME=DIR says where it is" in capsys.readouterr().err


def test_a_table_of_real_light_curves_asks_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _represent(tmp_path, "--table", "3.6") == 1
    assert "table 3.6 needs --data NAME=DIR of macho, asas" in capsys.readouterr().err
    assert _represent(tmp_path, "--table", "3.6", "--data", f"asas={tmp_path / 'absent'}") == 1
    assert "absent: no such directory" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        _represent(tmp_path, "--data", "kepler=.")


def test_training_lowers_the_reconstruction_error() -> None:
    curves = synthetic.make("syn-b", {"train": 60, "test": 20}, seed=0, n_points=30)
    config = AutoencoderConfig(loss="likelihood", d_head=8, harmonics=8)
    errors = []
    for epochs in (1, 25):
        trained = autoencode.train(config, curves, most_epochs=epochs, seed=0, device=CPU)
        errors.append(autoencode.reconstruction_error(trained.model, curves.of("test"), CPU))
    assert errors[1] < 0.8 * errors[0]


def test_training_stopped_in_its_midst_goes_on_to_the_same_end(tmp_path: Path) -> None:
    curves = synthetic.make("syn-b", {"train": 30}, seed=0, n_points=20)
    config = AutoencoderConfig(loss="likelihood", d_head=4, harmonics=4)
    at_once = autoencode.train(config, curves, most_epochs=4, seed=0, device=CPU)
    checkpoint = tmp_path / "checkpoint"
    for _ in range(3):
        with pytest.raises(OutOfTime):
            autoencode.train(config, curves, most_epochs=4, seed=0, device=CPU, checkpoint=checkpoint, until=0)
    in_parts = autoencode.train(config, curves, most_epochs=4, seed=0, device=CPU, checkpoint=checkpoint)
    assert in_parts.epochs == at_once.epochs == 4
    for first, second in (
        (at_once.model, in_parts.model),
        (at_once.online.modules["mlp"], in_parts.online.modules["mlp"]),
    ):
        for name, weight in first.state_dict().items():
            assert torch.equal(weight, second.state_dict()[name]), name


def test_a_perceptron_separates_what_no_line_does() -> None:
    latent = torch.randn(400, 2)
    labels = (latent[:, 0] * latent[:, 1] > 0).long()
    accuracies = {}
    for name, make in probes.PROBES.items():
        fitted = probes.fit(make, latent, labels, 2, most_epochs=150).module
        accuracies[name] = probes.accuracy(labels.numpy(), probes.predicted(fitted, latent))
    assert accuracies["linear"] < 65
    assert accuracies["mlp"] > 90
    assert probes.accuracy(labels.numpy(), probes.neighbours(latent, labels, latent)) > 85


def test_a_probe_says_whether_it_had_come_to_its_end() -> None:
    latent = torch.randn(200, 2)
    labels = torch.randint(2, (200,))
    for epochs, converged in ((3, False), (2000, True)):
        assert probes.fit(probes.linear, latent, labels, 2, most_epochs=epochs).converged is converged


def test_a_linear_probe_of_scaled_vectors_sees_what_is_small_beside_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = synthetic.make("syn-b", {"train": 300, "test": 300}, seed=0, n_points=15)

    def encoded(_: Autoencoder, own: Curves, __: torch.device) -> torch.Tensor:
        large, small = 100 * torch.randn(len(own), 3), 1e-3 * torch.from_numpy(own.label)[:, None]
        return torch.cat([large, small], dim=1).float()

    monkeypatch.setattr(probes, "encoded", encoded)
    trained = autoencode.train(AutoencoderConfig(d_head=1, harmonics=2), curves, most_epochs=1, seed=0, device=CPU)
    trained.online.modules.update({name: make(4, 2) for name, make in probes.PROBES.items()})
    effort = probes.Effort(probe_epochs=300, tuning_epochs=1, tuning_steps=1)
    figures = autoencode.measure(trained, curves, effort, seed=0, device=CPU, fine_tune=False)
    assert figures["linear"] < 70
    assert figures["scaled-linear"] > 99


def test_online_probes_learn_and_leave_the_encoder_alone() -> None:
    encoder = torch.nn.Linear(2, 2)
    online = probes.OnlineProbes(2, 2, CPU)
    before = encoder.weight.detach().clone()
    points = torch.randn(256, 2)
    labels = (points[:, 0] > 0).long()
    for _ in range(1500):
        online.learn(encoder(points), labels)
    assert encoder.weight.grad is None
    assert torch.equal(encoder.weight, before)
    for probe in online.modules.values():
        assert probes.accuracy(labels.numpy(), probes.predicted(probe, encoder(points).detach())) > 90


def test_fine_tuning_sees_a_tenth_of_each_classs_labels_and_changes_the_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = synthetic.make("syn-a", {"train": 100, "validation": 30, "test": 30}, seed=0, n_points=15)
    model = Autoencoder(AutoencoderConfig(d_head=4, harmonics=2))
    before = {name: weight.clone() for name, weight in model.encoder.state_dict().items()}  # type: ignore[attr-defined]
    learned = []
    encode = model.encode

    def encoding(points: Points) -> torch.Tensor:
        if model.training:
            learned.append(points.values.sum().item())
            assert len(points) == 20
        return encode(points)

    monkeypatch.setattr(model, "encode", encoding)
    effort = probes.Effort(probe_epochs=1, tuning_epochs=30, tuning_steps=5)
    answer = probes.fine_tuned(model, curves, effort, device=CPU, seed=0)
    assert learned
    assert np.ptp(learned) < 1e-2  # always the same few
    assert probes.accuracy(curves.of("test").label, answer) > 70
    after = model.encoder.state_dict()  # type: ignore[attr-defined]
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())


def test_fine_tuning_keeps_the_epoch_that_is_best_on_the_validation_set_and_never_asks_the_test_set() -> None:
    curves = synthetic.make("syn-a", {"train": 100, "validation": 30, "test": 30}, seed=0, n_points=15)
    effort = probes.Effort(probe_epochs=1, tuning_epochs=8, tuning_steps=5)
    answers = {}
    for turned in ("none", "validation", "test"):
        label = np.where(curves.split == turned, 1 - curves.label, curves.label)
        torch.manual_seed(0)
        model = Autoencoder(AutoencoderConfig(d_head=4, harmonics=2))
        answers[turned] = probes.fine_tuned(model, replace(curves, label=label), effort, device=CPU, seed=0)
    np.testing.assert_array_equal(answers["test"], answers["none"])
    found = {turned: probes.accuracy(curves.of("test").label, answer) for turned, answer in answers.items()}
    assert found["validation"] < 50 < found["none"]


def test_the_error_that_stops_training_is_the_squared_one_whatever_the_loss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(autoencode, "LEARNING_RATE", 0.0)  # the weights of the epoch are those that it leaves
    curves = synthetic.make("syn-a", {"train": 20}, seed=0, n_points=15)
    config = AutoencoderConfig(loss="likelihood", d_head=4, harmonics=2)
    checkpoint = tmp_path / "checkpoint"
    trained = autoencode.train(config, curves, most_epochs=1, seed=0, device=CPU, checkpoint=checkpoint)
    points, variance, _ = curves.batch(CPU)
    with torch.no_grad():
        errors = mean_squared_error(trained.model(points)[1], points, variance)
    assert len(errors) == 40
    assert torch.load(checkpoint, weights_only=True)["least"] == pytest.approx(errors.sum().item(), rel=1e-5)


def test_training_stops_when_the_error_has_not_fallen_for_five_epochs_and_keeps_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = [5.0, 4.0, 3.0, 3.5, 3.2, 3.1, 3.3, 3.0, 1.0]
    seen: list[float] = []

    def epoch(model: Autoencoder, *_: object, **__: object) -> float:
        seen.append(errors[len(seen)])
        torch.nn.init.constant_(model.head.bias, len(seen))
        return seen[-1]

    monkeypatch.setattr(autoencode, "_epoch", epoch)
    curves = synthetic.make("syn-a", {"train": 2}, seed=0, n_points=15)
    config = AutoencoderConfig(loss="likelihood", d_head=4, harmonics=2)
    trained = autoencode.train(config, curves, most_epochs=100, seed=0, device=CPU)
    assert (trained.epochs, trained.converged) == (8, True)
    torch.testing.assert_close(trained.model.head.bias, torch.full((2,), 3.0))


def test_of_few_light_curves_training_waits_for_a_better_error_through_as_many_steps_as_of_many(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(autoencode, "_epoch", lambda *_, **__: 1.0)
    size = replace(SIZES["quick"], most_epochs=300)  # of an epoch of one step
    figures = Bench(tmp_path, {}, CPU).run(Cell("syn-a", Parts(), size), 0, until=np.inf)
    assert (figures["epochs"], figures["converged"]) == (1 + 200, 1)


def test_accuracy_weighs_classes_alike() -> None:
    labels = np.array([0] * 9 + [1])
    assert probes.accuracy(labels, np.zeros(10, dtype=np.int64)) == 50


# --- verdicts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told(Bench):
    """A bench whose figures are given, of runs that came to their end where nothing else is said."""

    given: Mapping[tuple[str, Parts], list[dict[str, float]]] = field(kw_only=True)

    def figures(self, cell: Cell) -> dict[int, dict[str, float]]:
        runs = self.given.get((cell.data, cell.parts), [])
        ended = {"converged": 1.0, "linear-converged": 1.0, "mlp-converged": 1.0}
        return {seed: ended | figures for seed, figures in enumerate(runs)}


def _verdicts(given: Mapping[tuple[str, Parts], list[dict[str, float]]]) -> dict[str, str]:
    found = findings.findings(_Told(Path(), {}, CPU, given=given), None)
    return {each.statement: each.verdict for each in found if each.verdict != "not run"}


def _linear(*values: float) -> list[dict[str, float]]:
    return [{"linear": value} for value in values]


def test_variance_helps_where_every_seed_says_so_and_not_where_seeds_differ() -> None:
    without, with_it = Parts(loss="mse"), Parts()
    given = {("syn-a", without): _linear(70, 75, 72), ("syn-a", with_it): _linear(99, 98, 99)}
    given |= {("syn-b", without): _linear(70, 95, 60), ("syn-b", with_it): _linear(75, 80, 72)}
    given |= {("syn-c", without): _linear(72, 71, 72), ("syn-c", with_it): _linear(80, 79, 80)}
    assert list(_verdicts(given).values()) == ["holds", "undecided", "contradicted"]


@pytest.mark.parametrize(
    ("with_it", "verdict"),
    [((71.8, 72.1, 71.9), "holds"), ((73.4, 73.5, 73.4), "holds"), ((92, 52, 71), "undecided"), ((71.9,), "undecided")],
)
def test_that_something_makes_no_difference_is_to_be_shown(with_it: tuple[float, ...], verdict: str) -> None:
    without = _linear(*[72.0] * len(with_it))
    given = {("syn-c", Parts(loss="mse")): without, ("syn-c", Parts()): _linear(*with_it)}
    assert list(_verdicts(given).values()) == [verdict]


def test_one_seed_decides_nothing() -> None:
    given = {("syn-a", Parts(loss="mse")): _linear(70), ("syn-a", Parts()): _linear(99)}
    assert list(_verdicts(given).values()) == ["undecided"]


def test_autoencoders_of_one_seed_are_one_piece_of_evidence() -> None:
    """They see the same light curves."""
    run = {"linear": 60.0, "online-linear": 50.0, "mlp": 70.0, "online-mlp": 65.0}
    given = {("asas", parts): [run] for parts in tables.ENCODER_ROWS}
    assert _verdicts(given)["the offline MLP probe beats its online one on asas, of all encoders"] == "undecided"


def test_findings_tell_of_runs_that_were_still_learning() -> None:
    runs = [{"linear": 70.0, "converged": 1.0}, {"linear": 71.0, "converged": 0.0}]
    given = {("syn-a", Parts(loss="mse")): runs}
    given |= {("syn-a", Parts()): [{"linear": 71.0, "converged": 1.0}, {"linear": 79.0, "converged": 0.0}]}
    told = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=given), None) if each.found)
    assert told.rests_on == "full, 2 seeds, 2 of 4 runs cut short"
    assert told.verdict == "undecided"
    alone = {**given, ("syn-a", Parts(loss="mse")): [*runs, {"linear": 72.0, "converged": 0.0}]}
    told = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=alone), None) if each.found)
    assert told.rests_on == "full, 2 seeds, 2 of 4 runs cut short"  # the third is one of a pair that is not there
    better = [{"linear": 98.9, "converged": 1.0}, {"linear": 99.0, "converged": 0.0}]
    assert _verdicts(given | {("syn-a", Parts()): better}) == {told.statement: "holds, cut short"}
    alike = [{"linear": 71.0, "converged": 1.0}, {"linear": 72.0, "converged": 0.0}]
    assert _verdicts(given | {("syn-a", Parts()): alike}) == {told.statement: "contradicted, cut short"}


def test_training_says_whether_it_had_come_to_its_end() -> None:
    curves = synthetic.make("syn-b", {"train": 20, "test": 10}, seed=0, n_points=15)
    config = AutoencoderConfig(d_head=4, harmonics=2)
    for epochs, converged in ((1, 0), (2000, 1)):
        trained = autoencode.train(config, curves, most_epochs=epochs, seed=0, device=CPU)
        effort = probes.Effort(probe_epochs=1, tuning_epochs=1, tuning_steps=1)
        assert (
            autoencode.measure(trained, curves, effort, seed=0, device=CPU, fine_tune=False)["converged"] == converged
        )


def test_runs_are_compared_seed_by_seed() -> None:
    spread = (60.0, 75.0, 90.0)  # seeds differ more than the variance makes of each
    given = {("asas", Parts(loss="mse")): _linear(*spread)}
    given |= {("asas", Parts()): _linear(*(value + gain for value, gain in zip(spread, (3.0, 3.1, 2.9), strict=True)))}
    assert list(_verdicts(given).values()) == ["holds"]


def test_decoders_are_compared_at_one_size_only() -> None:
    given = {
        ("syn-a", Parts(decoder=decoder)): [{"mlp": value}, {"mlp": value + 0.1}]
        for decoder, value in (("mlp", 99.0), ("mha", 98.5), ("lstm", 40.0))  # the last is asked for at size small
    }
    told = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=given), None) if each.found)
    assert told.found.endswith("; lstm is of another size")
    assert told.verdict == "holds"
    at_one = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=given), "small") if each.found)
    assert "lstm by -" in at_one.found
    assert at_one.verdict == "holds"
    without = {key: runs for key, runs in given.items() if key[1].decoder != "lstm"}
    lacking = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=without), "small") if each.found)
    assert lacking.found.endswith("; lstm was not run")
    assert lacking.verdict == "undecided"
    given[("syn-a", Parts(decoder="mha"))] = [{"mlp": 103.0}, {"mlp": 103.2}]
    worse = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=given), None) if each.found)
    assert worse.verdict == "contradicted"  # whatever the third would say


def test_offline_probes_are_judged_at_one_size() -> None:
    run = {"linear": 60.0, "online-linear": 50.0, "mlp": 70.0, "online-mlp": 70.5}
    given = {("syn-a", parts): [run, {**run, "linear": 60.1}] for parts in tables.DECODER_ROWS}
    found = findings.findings(_Told(Path(), {}, CPU, given=given), None)
    told = {each.statement: each for each in found if each.found}
    linear = told["the offline linear probe is as good as its online one on syn-a, of all decoders"]
    assert (linear.rests_on, linear.verdict) == ("4 of 12 autoencoders (mha, mlp), full, 2 seeds", "contradicted")
    assert linear.thesis == "+1.2, of each -0.0 to +3.5"  # of these four
    assert told["the offline MLP probe is as good as its online one on syn-a, of all decoders"].verdict == "holds"


def test_two_probes_are_alike_only_if_neither_is_ahead() -> None:
    run = {"linear": 60.0, "online-linear": 72.0, "mlp": 70.0, "online-mlp": 70.0}
    given = {("syn-b", parts): [run, {**run, "linear": 60.1}] for parts in tables.DECODER_ROWS}
    verdicts = _verdicts(given)
    assert verdicts["the offline linear probe is as good as its online one on syn-b, of all decoders"] == "contradicted"
    # Of the perceptron the thesis sees a gap behind every encoder of ZTF's, and none before every decoder.
    given = {("ztf-bts", parts): [run, run] for parts in (*tables.DECODER_ROWS, *tables.ENCODER_ROWS)}
    verdicts = _verdicts(given)
    assert verdicts["the offline MLP probe is as good as its online one on ztf-bts, of all decoders"] == "holds"
    assert verdicts["the offline MLP probe beats its online one on ztf-bts, of all encoders"] == "contradicted"


def test_autoencoders_that_share_no_seed_decide_nothing() -> None:
    run = {"linear": 60.0, "online-linear": 50.0}
    given = {("asas", parts): [run, run] for parts in tables.ENCODER_ROWS}

    @dataclass(frozen=True)
    class _Apart(_Told):
        def figures(self, cell: Cell) -> dict[int, dict[str, float]]:
            """One seed of three has diverged, of each row another."""
            lost = tables.ENCODER_ROWS.index(cell.parts) % 3 if cell.parts in tables.ENCODER_ROWS else 0
            found = super().figures(cell)
            return {seed: run for seed in range(3) if seed != lost} if found else {}

    found = findings.findings(_Apart(Path(), {}, CPU, given=given), None)
    told = next(each for each in found if each.statement.endswith("on asas, of all encoders"))
    assert (told.found, told.verdict) == ("no seed was run with all of them", "not run")


def test_a_verdict_tells_of_probes_that_were_still_learning() -> None:
    run = {"linear": 70.0, "linear-converged": 0.0}
    given = {("syn-a", Parts(loss="mse")): [run, run], ("syn-a", Parts()): _linear(99, 99.2)}
    told = next(each for each in findings.findings(_Told(Path(), {}, CPU, given=given), None) if each.found)
    assert told.rests_on == "full, 2 seeds, 2 of 4 linear probes cut short"
    assert told.verdict == "holds, cut short"
    lagging = {
        ("asas", parts): [{"mlp": 80.0 - 9 * (parts.pre_encoder == "mtan"), "mlp-converged": 0.0}] * 2
        for parts in tables.ENCODER_ROWS
    }
    found = findings.findings(_Told(Path(), {}, CPU, given=lagging), None)
    told = next(each for each in found if each.found and "lag" in each.statement)
    assert told.rests_on == "3 and 5, small, 2 seeds, 16 of 16 MLP probes cut short"
    assert told.verdict == "holds, cut short"


def test_a_verdict_tells_of_probes_of_which_it_was_not_kept_whether_they_were_still_learning() -> None:
    @dataclass(frozen=True)
    class _Older(_Told):
        def figures(self, cell: Cell) -> dict[int, dict[str, float]]:
            runs = self.given.get((cell.data, cell.parts), [])
            return {seed: {**run, "converged": 1.0} for seed, run in enumerate(runs)}

    given = {("syn-a", Parts(loss="mse")): _linear(70, 71), ("syn-a", Parts()): _linear(99, 99.2)}
    told = next(each for each in findings.findings(_Older(Path(), {}, CPU, given=given), None) if each.found)
    assert told.rests_on == "full, 2 seeds, 4 of 4 linear probes perhaps cut short"
    assert told.verdict == "holds, cut short"


@pytest.mark.parametrize(
    ("without", "with_it", "verdict"),
    [
        ((70, 72, 71), (99, 98, 99), "holds"),
        ((60, 62, 61), (80, 81, 80), "undecided"),  # a lift, but not to where classes are told apart
        ((60, 62, 61), (60, 62, 61), "contradicted"),
        ((99, 98, 99), (99, 99, 99), "not tried: there is nothing to lift"),
    ],
)
def test_variance_lifts_a_probe_that_knew_little_to_where_it_knows_nearly_all(
    without: tuple[float, ...], with_it: tuple[float, ...], verdict: str
) -> None:
    given = {("syn-b", Parts(loss="mse")): _linear(*without), ("syn-b", Parts()): _linear(*with_it)}
    assert list(_verdicts(given).values()) == [verdict]


def test_a_probe_predicts_fine_tuning_if_it_orders_encoders_alike() -> None:
    names = ("linear", "online-linear", "mlp", "online-mlp", "fine-tuned")
    given = {
        ("asas", parts): [dict(zip(names, (60.0 - n, 50.0 - n, 70.0 + n, 65.0 + n, 70.0 + 2 * n), strict=True))] * 2
        for n, parts in enumerate(tables.ENCODER_ROWS)
    }
    verdicts = _verdicts(given)
    assert verdicts["the MLP probe predicts fine-tuned accuracy better than the linear one on asas"] == "holds"
    assert verdicts["the offline linear probe beats its online one on asas, of all encoders"] == "holds"
    assert verdicts["the offline MLP probe beats its online one on asas, of all encoders"] == "holds"
    # Of the eight encoders in order the third to fifth read mTAN, and are here in the middle.
    assert verdicts["encoders that read mTAN lag behind the others on asas"] == "contradicted"
    lagging = {
        ("asas", parts): [{"mlp": 80.0 - 9 * (parts.pre_encoder == "mtan")}] * 2 for parts in tables.ENCODER_ROWS
    }
    assert _verdicts(lagging)["encoders that read mTAN lag behind the others on asas"] == "holds"


def test_the_thesiss_own_tables_say_that_the_perceptron_predicts_better(quick: Path) -> None:
    text = (quick / "findings.md").read_text()
    assert "rank correlation 1.00 (MLP), 0.69 (linear)" in text
    assert json.loads(next((quick / "cells").glob("*.json")).read_text())["settings"]["size"]["name"] == "quick"
