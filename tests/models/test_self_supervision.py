"""Algorithm 1 of chapter 5, as it should have been: what is hidden is hidden, and nothing else is asked."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.atat import ATAT
from models.inputs import ragged
from models.inputs.light_curve import LightCurves, merged
from models.inputs.sequence import Sequences, running_peak, since_detection
from models.network import AnyATAT, build
from models.self_supervision import BERT, LIGHT_CURVE, MAE, TABLE, Masked, Masks, SelfSupervised, SelfSupervision
from tests import alerts

SHAPE = {"n_classes": 3, "harmonics": 4, "n_heads": 2, "n_layers": 2, "flux_encoding": "asinh", "relative_flux": True}
WIDTHS = {"atat": {"d_lc": 16, "d_tab": 8}, "atat2": {"d_model": 16, "d_metadata": 8}}
KNOWN = ("mwebv", "hostgal_zphot", "hostgal_zphot_err", "hostgal_mag_r")

BOTH_KINDS = (BERT, MAE)
OF_CLASS_TOKENS = SelfSupervision(
    eta_pred=0.5,
    token="noise",  # noqa: S106 - no secret
    decoder_sees="class tokens",
    hidden_together="groups",
)
OF_ONE_CLASS_TOKEN = SelfSupervision(decoder_sees="class token", of="light curve")
EVERY = [
    *((network, config) for network in WIDTHS for config in BOTH_KINDS),
    ("atat", OF_CLASS_TOKENS),
    ("atat", OF_ONE_CLASS_TOKEN),
    ("atat", SelfSupervision(kind="B", eta_pred=0.5, token="noise")),  # noqa: S106 - no secret
]
"""Networks and what they can learn by."""


def _curves(*counts: int) -> LightCurves:
    rng = np.random.default_rng(0)
    return merged(alerts.batch(*(alerts.random_elasticc(rng, n, alert_id=n) for n in counts)))


def _table(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Of the KNOWN columns, a fifth of the cells being missing."""
    rng = np.random.default_rng(1)
    table = rng.normal(0.4, 0.2, (rows, len(KNOWN))).astype(np.float32)
    return np.where(rng.random(table.shape) < 0.2, np.float32(np.nan), table)


def _network(kind: str = "atat", **options: object) -> AnyATAT:
    torch.manual_seed(0)
    network = build(kind, {**SHAPE, **WIDTHS[kind], "metadata_columns": KNOWN, **options})
    network.fit_scales(_table(200)[:, : len(network.config.columns)])
    return network


def _asked(
    model: SelfSupervised, curves: LightCurves, *, seed: int = 0, change: float = 0.0, masked: Masked | None = None
) -> Masked:
    """A batch, masked. With ``masked``, what that hides is otherwise: values, whether a point is a detection, and what
    ``pack`` makes of them.
    """
    columns = len(model.network.config.columns)
    batch = model.network.pack(curves, _table(len(curves))[:, :columns], np.ones(len(curves), dtype=np.bool_))
    if masked is not None:
        hidden = masked.asked[LIGHT_CURVE].hidden
        batch = dataclasses.replace(batch, flux=torch.where(hidden, batch.flux + change, batch.flux))
        batch = dataclasses.replace(batch, flux_err=torch.where(hidden, batch.flux_err * 2, batch.flux_err))
        if isinstance(batch, Sequences):
            detected = batch.detected ^ hidden
            row = ragged.row_of_each(ragged.offsets_of(batch.lengths.numpy()))
            since = torch.from_numpy(since_detection(row, batch.time.double().numpy(), detected.numpy()))
            peak = torch.from_numpy(running_peak(row, batch.flux.numpy()))
            batch = dataclasses.replace(batch, detected=detected, since_detection=since, peak=peak)
        if TABLE in masked.asked:
            cells = masked.asked[TABLE].hidden.view(batch.metadata.shape)
            batch = dataclasses.replace(batch, metadata=torch.where(cells, batch.metadata + change, batch.metadata))
    return model.mask(batch, np.random.default_rng(seed))


# --- masks ----------------------------------------------------------------------------------------------------------


def test_bert_and_mae_are_two_settings_of_one_code() -> None:
    observed = np.ones(200_000, dtype=np.bool_)
    for config, predicted, hidden in ((BERT, 0.15, 0.15 * 0.9), (MAE, 1.0, 0.75)):
        masks = Masks.draw(observed, config, np.random.default_rng(0))
        assert masks.predicted.mean() == pytest.approx(predicted, abs=0.005)
        assert masks.hidden.mean() == pytest.approx(hidden, abs=0.005)
    bert, mae = (SelfSupervised(_network(), config) for config in BOTH_KINDS)
    assert type(bert) is type(mae)
    only_mae = {name.split(".")[1] for name in mae.state_dict().keys() - bert.state_dict().keys()}
    assert only_mae == {"decoder"}
    assert not bert.state_dict().keys() - mae.state_dict().keys()


@settings(max_examples=50, deadline=None)
@given(
    observed=st.lists(st.booleans(), min_size=1, max_size=60),
    eta_pred=st.floats(0.01, 1),
    eta_orig=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_padding_and_missing_inputs_are_never_predicted_or_hidden(
    observed: list[bool], eta_pred: float, eta_orig: float, seed: int
) -> None:
    there = np.array(observed)
    config = SelfSupervision(eta_pred=eta_pred, eta_orig=eta_orig)
    masks = Masks.draw(there, config, np.random.default_rng(seed))
    assert not (masks.predicted & ~there).any()
    assert not (masks.hidden & ~masks.predicted).any()


def test_mae_shows_what_it_keeps_though_it_predicts_everything() -> None:
    masks = Masks.draw(np.ones(1000, dtype=np.bool_), MAE, np.random.default_rng(0))
    assert masks.predicted.all()
    assert 200 < (~masks.hidden).sum() < 300


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "C"}, "kind is one of B, M, not C"),
        ({"eta_pred": 0.0}, "eta_pred not 0"),
        ({"eta_orig": 1.5}, "probabilities"),
        ({"decoder_layers": 0}, "a layer at least"),
        ({"kind": "B", "decoder_sees": "class token"}, "SSL-B has no decoder"),
        ({"dropout": 1.0}, "dropout 1.0 is not"),
        ({"of": "metadata"}, "of is one of both, light curve, table"),
        ({"of": "light curve", "token": "noise"}, "token and hidden_together are of columns"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SelfSupervision(**options)  # type: ignore[arg-type]


# --- what is asked, and what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "config"), EVERY)
def test_hidden_values_change_nothing_of_what_is_guessed(config: SelfSupervision, network: str) -> None:
    model = SelfSupervised(_network(network), config).eval()
    curves = _curves(3, 25, 40)
    plain = _asked(model, curves)
    other = _asked(model, curves, change=5000.0, masked=plain)
    with torch.inference_mode():
        guessed, again = model.guess(plain), model.guess(other)
    assert guessed.keys() == again.keys()
    for name, guess in guessed.items():
        assert plain.asked[name].hidden.any()
        assert torch.equal(guess, again[name])
    assert not torch.equal(plain.asked[LIGHT_CURVE].target, other.asked[LIGHT_CURVE].target)


@pytest.mark.parametrize("token", ["learned", "noise"])
@pytest.mark.parametrize("kind", ["B", "M"])
def test_every_input_that_is_shown_tells_of_the_others(kind: str, token: str) -> None:
    config = SelfSupervision(kind=kind, eta_pred=0.5, eta_orig=0.0, token=token)  # type: ignore[arg-type]
    model = SelfSupervised(_network(), config).eval()
    masked = _asked(model, _curves(12), seed=2)
    batch = masked.batch
    inputs = {LIGHT_CURVE: batch.flux, TABLE: batch.metadata.flatten()}
    for name, values in inputs.items():
        hidden = masked.asked[name].hidden
        shown = torch.nonzero(~hidden & ~(batch.missing.flatten() if name == TABLE else torch.zeros_like(hidden)))
        assert hidden.any()
        for place in shown[:, 0]:
            moved = values.clone()
            moved[place] += 50
            other = (
                dataclasses.replace(batch, flux=moved)
                if name == LIGHT_CURVE
                else dataclasses.replace(batch, metadata=moved.view(batch.metadata.shape))
            )
            with torch.inference_mode():
                guess, again = (model.guess(dataclasses.replace(masked, batch=each))[name] for each in (batch, other))
            assert (guess[hidden] != again[hidden]).all()


@pytest.mark.parametrize("sees", ["tokens", "class token"])
def test_a_decoder_that_sees_the_class_token_alone_guesses_from_nothing_else(sees: str) -> None:
    model = SelfSupervised(_network(), SelfSupervision(decoder_sees=sees)).eval()  # type: ignore[arg-type]
    masked = _asked(model, _curves(12, 20))
    brighter = dataclasses.replace(masked.batch, flux=masked.batch.flux * 3 + 100)
    assert isinstance(model.network, ATAT)
    encoder = model.network.lc.transformer  # type: ignore[union-attr]
    encoder.register_forward_hook(lambda _, __, read: torch.cat([torch.zeros_like(read[:2]), read[2:]]))
    with torch.inference_mode():
        guess, again = (
            model.guess(each)[LIGHT_CURVE] for each in (masked, dataclasses.replace(masked, batch=brighter))
        )
    assert torch.equal(guess, again) == (sees == "class token")


def test_a_decoder_is_given_what_the_encoder_made_as_it_is_and_predictive_tokens_modulated() -> None:
    """Line 29 of algorithm 1 modulates all of it, though the encoder's inputs had been (5.2, corrected)."""
    model = SelfSupervised(_network(), SelfSupervision(eta_pred=0.6, eta_orig=0.2)).eval()
    masked = _asked(model, _curves(12, 20))
    assert isinstance(model.network, ATAT)
    branch, guesser = model.network.lc, model.light_curve
    assert branch is not None
    assert guesser is not None
    assert guesser.decoder is not None
    made: list[Tensor] = []
    given: list[Tensor] = []
    branch.transformer.register_forward_hook(lambda _, __, read: made.append(read))
    guesser.decoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.inference_mode():
        model.guess(masked)
    (encoded,), (decoded,) = made, given
    hidden, batch = masked.asked[LIGHT_CURVE].hidden, masked.batch
    assert 0 < hidden.sum() < len(hidden)
    assert torch.equal(decoded[:2], encoded[:2])  # class tokens
    assert torch.equal(decoded[2:][~hidden], encoded[2:])
    modulated = branch.time_modulation.modulate(guesser.token, batch.time, batch.band)
    assert torch.equal(decoded[2:][hidden], modulated[hidden])


@pytest.mark.parametrize("sees", ["class token", "class tokens"])
def test_what_a_decoder_sees_of_the_other_modality_is_its_class_token_or_nothing(sees: str) -> None:
    model = SelfSupervised(_network(), SelfSupervision(decoder_sees=sees)).eval()  # type: ignore[arg-type]
    masked = _asked(model, _curves(12, 20))
    brighter = dataclasses.replace(masked.batch, flux=masked.batch.flux * 3 + 100)
    with torch.inference_mode():
        guess, again = (model.guess(each)[TABLE] for each in (masked, dataclasses.replace(masked, batch=brighter)))
    assert torch.equal(guess, again) == (sees == "class token")


def test_columns_of_a_group_are_hidden_together() -> None:
    together = SelfSupervised(_network(), SelfSupervision(eta_pred=0.5, eta_orig=0.0, hidden_together="groups"))
    alone = SelfSupervised(_network(), SelfSupervision(eta_pred=0.5, eta_orig=0.0))
    curves = _curves(*range(3, 40))
    z, err = (KNOWN.index(name) for name in ("hostgal_zphot", "hostgal_zphot_err"))
    table = np.full((len(curves), len(KNOWN)), 0.4, dtype=np.float32)
    for model, alike in ((together, True), (alone, False)):
        batch = model.network.pack(curves, table, np.ones(len(curves), dtype=np.bool_))
        hidden = model.mask(batch, np.random.default_rng(0)).asked[TABLE].hidden.view(table.shape)
        assert torch.equal(hidden[:, z], hidden[:, err]) == alike
        assert not torch.equal(hidden[:, 0], hidden[:, z])
        assert 0.3 < hidden.float().mean() < 0.7


def test_the_first_token_of_a_causal_network_cannot_be_all_that_a_decoder_sees() -> None:
    with pytest.raises(ValueError, match="has seen no point"):
        SelfSupervised(_network("atat2"), SelfSupervision(decoder_sees="class token"))


def test_what_would_tell_of_hidden_points_is_refused() -> None:
    for options, reason in (({"d_statistics": 8}, "running statistics"), ({"max_tokens": 20}, "max_points, in place")):
        network = build("atat2", {"n_classes": 3, "d_model": 16, "d_metadata": 8, "harmonics": 4, **options})
        with pytest.raises(ValueError, match=reason):
            SelfSupervised(network, SelfSupervision())


def test_a_predictive_token_leaves_visible_which_column_is_asked() -> None:
    model = SelfSupervised(_network(), MAE)
    assert model.table is not None
    assert isinstance(model.network, ATAT)
    columns = model.network.tab.tokenizer.bias  # type: ignore[union-attr]
    assert model.table.token.norm() < 3 * columns.norm(dim=1).mean()


def test_missing_columns_are_shown_as_they_are_and_not_asked() -> None:
    model = SelfSupervised(_network(), MAE)
    masked = _asked(model, _curves(3, 5, 8))
    missing = masked.batch.missing.flatten()
    assert missing.any()
    asked = masked.asked[TABLE]
    assert not (asked.predicted & missing).any()
    assert torch.equal(asked.predicted, ~missing)
    assert int(asked.visible.place.numel()) == len(masked.batch) + int((~asked.hidden).sum())


def test_an_object_of_which_no_metadata_came_is_asked_for_none() -> None:
    model = SelfSupervised(_network(), MAE)
    batch = model.network.pack(_curves(3, 5), _table(2), np.array([True, False]))
    asked = model.mask(batch, np.random.default_rng(0)).asked[TABLE].predicted.view(2, -1)
    assert asked[0].any()
    assert not asked[1].any()


def test_the_target_is_the_flux_over_the_largest_and_the_error_its_weight() -> None:
    model = SelfSupervised(_network(), MAE)
    masked = _asked(model, _curves(20))
    asked = masked.asked[LIGHT_CURVE]
    batch = model.network.pack(_curves(20), _table(1), np.ones(1, dtype=np.bool_))
    largest = batch.flux.abs().max()
    assert asked.target.abs().max() == 1
    torch.testing.assert_close(asked.target * largest, batch.flux)
    torch.testing.assert_close(asked.weight, 1 / (1 + (batch.flux_err / largest / 0.1) ** 2))
    assert asked.weight.max() - asked.weight.min() > 0.3


def test_atat2_is_asked_for_a_share_of_what_was_the_largest_by_then() -> None:
    model = SelfSupervised(_network("atat2"), MAE)
    curves = _curves(20)
    later = dataclasses.replace(curves, flux=np.where(np.arange(20) < 12, curves.flux, 1e6).astype(np.float32))
    target, other = (_asked(model, each).asked[LIGHT_CURVE].target for each in (curves, later))
    assert torch.equal(target[:12], other[:12])
    assert target.abs().max() == 1


def test_the_loss_is_the_mean_of_weighted_squares_over_what_is_predicted_and_nothing_else() -> None:
    model = SelfSupervised(_network(), BERT).eval()
    masked = _asked(model, _curves(30, 30))
    asked = masked.asked[LIGHT_CURVE]
    elsewhere = dataclasses.replace(asked, target=torch.where(asked.predicted, asked.target, 99.0))
    other = Masked(masked.batch, {**masked.asked, LIGHT_CURVE: elsewhere})
    with torch.inference_mode():
        loss, guess = model(masked)[LIGHT_CURVE], model.guess(masked)[LIGHT_CURVE]
        assert torch.equal(loss, model(other)[LIGHT_CURVE])
    squares = asked.weight * (asked.target - guess) ** 2
    assert 0 < asked.predicted.sum() < len(squares)
    torch.testing.assert_close(loss, squares[asked.predicted].mean())


def test_noise_stands_for_columns_only_where_it_is_asked_for() -> None:
    learned, noise = (
        SelfSupervised(_network(), SelfSupervision(kind="B", eta_pred=1.0, eta_orig=0.0, token=token)).eval()
        for token in ("learned", "noise")
    )
    assert _asked(learned, _curves(5)).asked[TABLE].noise is None
    drawn = _asked(noise, _curves(*[3] * 400)).asked[TABLE].noise
    assert drawn is not None
    assert float(drawn.mean()) == pytest.approx(0, abs=0.1)
    assert float(drawn.std()) == pytest.approx(1, abs=0.1)
    with torch.inference_mode():
        guesses = [noise.guess(_asked(noise, _curves(5), seed=seed))[TABLE] for seed in (0, 1)]
        still = [learned.guess(_asked(learned, _curves(5), seed=seed))[TABLE] for seed in (0, 1)]
    assert not torch.equal(*guesses)
    torch.testing.assert_close(*still)


@pytest.mark.parametrize(("network", "config"), EVERY)
def test_another_light_curve_beside_it_does_not_change_a_guess(network: str, config: SelfSupervision) -> None:
    model = SelfSupervised(_network(network), config).eval()
    masked = _asked(model, _curves(9, 30))
    batch = masked.batch
    own = {LIGHT_CURVE: int(batch.lengths[0]), TABLE: batch.metadata.shape[1]}
    brighter = dataclasses.replace(
        batch,
        flux=torch.cat([batch.flux[: own[LIGHT_CURVE]], batch.flux[own[LIGHT_CURVE] :] * 7 + 40]),
        metadata=torch.cat([batch.metadata[:1], batch.metadata[1:] + 3]),
    )
    with torch.inference_mode():
        guesses, again = (model.guess(dataclasses.replace(masked, batch=each)) for each in (batch, brighter))
    assert guesses.keys() == again.keys()
    for name, guess in guesses.items():
        torch.testing.assert_close(again[name][: own[name]], guess[: own[name]])
        assert not torch.equal(again[name][own[name] :], guess[own[name] :])


def test_atat2_guesses_a_point_from_those_before_it() -> None:
    config = SelfSupervision(kind="B", eta_pred=0.5, eta_orig=0.0)
    model = SelfSupervised(_network("atat2"), config).eval()
    masked = _asked(model, _curves(30))
    assert set(masked.asked) == {LIGHT_CURVE}
    place = 20
    flux = masked.batch.flux.clone()
    flux[place:] += 300
    other = dataclasses.replace(masked, batch=dataclasses.replace(masked.batch, flux=flux))
    with torch.inference_mode():
        guess, again = model.guess(masked)[LIGHT_CURVE], model.guess(other)[LIGHT_CURVE]
    assert torch.equal(guess[:place], again[:place])
    assert not torch.equal(guess[place:], again[place:])


# --- learning -------------------------------------------------------------------------------------------------------


def _waves(n: int) -> LightCurves:
    """Light curves that can be told from half of their points."""
    rng = np.random.default_rng(3)
    records = []
    for number in range(n):
        days = np.sort(rng.uniform(0, 60, 24))
        phase = rng.uniform(0, 6.28)
        fluxes = 3e4 * np.sin(days / 8 + phase)
        sources = [
            alerts.source(number * 100 + place, alerts.FIRST_MJD + day, flux=flux, flux_err=500.0, band="r")
            for place, (day, flux) in enumerate(zip(days.tolist(), fluxes.tolist(), strict=True))
        ]
        records.append(alerts.elasticc(sources[-1], previous=sources[:-1], alert_id=number + 1))
    return merged(alerts.batch(*records))


@pytest.mark.parametrize("network", ["atat", "atat2"])
@pytest.mark.parametrize("kind", ["B", "M"])
def test_errors_fall_below_those_of_a_guess_that_knows_nothing(kind: str, network: str) -> None:
    config = SelfSupervision(kind=kind, eta_pred=0.5, eta_orig=0.0)  # type: ignore[arg-type]
    model = SelfSupervised(_network(network, dropout=0.0), config)
    curves = _waves(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(150):
        losses = model(_asked(model, curves, seed=step))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    masked = _asked(model.eval(), curves, seed=10_000)
    asked = masked.asked[LIGHT_CURVE]
    with torch.inference_mode():
        error = float(model(masked)[LIGHT_CURVE])
    assert error < 0.6 * _spread(asked.target, asked.weight, asked.predicted)


def _spread(target: Tensor, weight: Tensor, predicted: Tensor) -> float:
    """The error of the best constant guess."""
    target, weight = target[predicted], weight[predicted]
    mean = (weight * target).sum() / weight.sum()
    return float((weight * (target - mean).square()).mean())


def test_the_light_curve_or_the_table_can_be_learned_alone() -> None:
    curves = _curves(5, 9)
    without = SelfSupervised(_network(metadata_columns=()), MAE)
    assert set(without(_asked(without, curves))) == {LIGHT_CURVE}
    table = SelfSupervised(_network(light_curve=False), MAE)
    assert set(table(_asked(table, curves))) == {TABLE}
    half = SelfSupervised(_network(), dataclasses.replace(MAE, of="table"))
    assert set(half(_asked(half, curves))) == {TABLE}
    with pytest.raises(ValueError, match="the network reads none"):
        SelfSupervised(_network(metadata_columns=()), dataclasses.replace(MAE, of="table"))
    with pytest.raises(ValueError, match="no two modalities"):
        SelfSupervised(_network(metadata_columns=()), dataclasses.replace(MAE, decoder_sees="class tokens"))
    both = SelfSupervised(_network(), MAE)
    assert isinstance(both.network, ATAT)
    losses = both(_asked(both, curves))
    assert set(losses) == {LIGHT_CURVE, TABLE}
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    learned = {name for name, weights in both.named_parameters() if weights.grad is not None}
    for part in ("network.lc.transformer", "network.tab.transformer", "network.lc.class_token", "light_curve.token"):
        assert any(name.startswith(part) for name in learned), part
    assert not any("head" in name.split(".")[1] and name.startswith("network.") for name in learned)
