"""Autoencoders of chapter 3: any part with any other, each light curve for itself, the thesis's equations."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from models.autoencoders.autoencoder import (
    DECODERS,
    ENCODERS,
    LEAST_VARIANCE,
    POST_DECODERS,
    PRE_ENCODERS,
    Autoencoder,
)
from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.interpred import InterPred
from models.autoencoders.losses import Reconstruction, cross_entropy, likelihood, mean_squared_error
from models.autoencoders.mha import MHADecoder, MHAEncoder
from models.autoencoders.mtan import MTANPostDecoder, MTANPreEncoder
from models.autoencoders.points import Points, pack, regular
from models.autoencoders.resnet import ResNetEncoder
from models.layers.time_modulation import TimeModulation

N_BANDS = 2
LENGTHS = (7, 12, 3)


def _config(**parts: str | None) -> AutoencoderConfig:
    # Of a ResNet's few maps, none may be above 0, and then nothing before them learns.
    sizes = {"d_head": 3, "d_lstm": 5, "feature_maps": 16, "d_mlp": 6, "n_induction": 10, "d_mtan": 5, "harmonics": 4}
    return AutoencoderConfig(**parts, **sizes, n_bands=N_BANDS)  # type: ignore[arg-type]


def _combinations() -> list[dict[str, str | None]]:
    names = ("encoder", "pre_encoder", "decoder", "post_decoder")
    every = itertools.product(ENCODERS, (None, *PRE_ENCODERS), DECODERS, (None, *POST_DECODERS))
    combinations = [dict(zip(names, parts, strict=True)) for parts in every]
    return [
        parts
        for parts in combinations
        if (parts["encoder"] != "resnet" or parts["pre_encoder"])
        and (parts["decoder"] != "resnet" or parts["post_decoder"])
    ]


def _points(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    time = np.concatenate([np.sort(rng.uniform(0, 1, length)) for length in lengths])
    values, band = rng.normal(0, 1, total), rng.integers(0, N_BANDS, total)
    band[offsets[-2] :] = 0  # of the last sequence, a band has no point
    return pack(values.astype(np.float32), time.astype(np.float32), band.astype(np.int8), offsets)


def _row(points: Points, row: int) -> Points:
    own = (points.row == row).numpy()
    values, time, band = (each.numpy()[own] for each in (points.values[:, 0], points.time, points.band))
    return pack(values, time, band.astype(np.int8), np.array([0, own.sum()]))


def test_every_part_goes_with_every_other_and_learns() -> None:
    points = _points()
    for parts in _combinations():
        model = Autoencoder(_config(**parts, loss="likelihood"))
        latent, reconstruction = model(points)
        assert latent.shape == (len(LENGTHS), model.d_latent)
        assert reconstruction.mean.shape == (sum(LENGTHS),)
        likelihood(reconstruction, points, torch.zeros(sum(LENGTHS))).mean().backward()  # type: ignore[no-untyped-call]
        for name, weight in model.named_parameters():
            assert weight.grad is not None, (parts, name)
            assert weight.grad.isfinite().all(), (parts, name)
            assert weight.grad.any(), (parts, name)
            if name.endswith("coefficients"):  # of time modulation: of every band
                assert weight.grad.flatten(1).any(dim=1).all(), (parts, name)


def test_in_bfloat16_every_part_learns_too_and_says_nearly_the_same() -> None:
    points = _points()
    for parts in _combinations():
        exact = Autoencoder(_config(**parts, loss="likelihood")).eval()
        narrow = Autoencoder(replace(exact.config, precision="bfloat16")).eval()
        narrow.load_state_dict(exact.state_dict())
        latent, reconstruction = narrow(points)
        assert latent.dtype == reconstruction.mean.dtype == torch.float32
        likelihood(reconstruction, points, torch.zeros(sum(LENGTHS))).mean().backward()  # type: ignore[no-untyped-call]
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in narrow.parameters()), parts
        rounded = (latent - exact(points)[0]).abs().max() / exact(points)[0].abs().max()
        assert 0 < rounded < 0.03, parts


def test_of_the_points_that_are_decoded_only_times_and_bands_are_looked_at() -> None:
    points = _points()
    others = replace(points, values=points.values * 50 + 3)
    for parts in _combinations():
        model = Autoencoder(_config(**parts)).eval()
        latent = torch.randn(len(points), model.d_latent)
        with torch.inference_mode():
            assert torch.equal(model.decode(latent, others).mean, model.decode(latent, points).mean), parts


def test_a_light_curve_is_encoded_and_decoded_whatever_else_is_in_the_batch() -> None:
    points = _points()
    for parts in _combinations():
        model = Autoencoder(_config(**parts)).eval()
        latent, reconstruction = model(points)
        for row in range(len(points)):
            alone, decoded = model(_row(points, row))
            torch.testing.assert_close(alone[0], latent[row], atol=1e-5, rtol=1e-4, msg=f"{parts}")
            torch.testing.assert_close(decoded.mean, reconstruction.mean[points.row == row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("parts", [{"encoder": "mha"}, {"pre_encoder": "mtan"}, {"pre_encoder": "interpred"}])
def test_attention_and_interpolation_see_a_set_of_points_in_no_order(parts: dict[str, str | None]) -> None:
    model = Autoencoder(_config(**parts)).eval()
    points = _points((9,))
    order = torch.randperm(9).numpy()
    values, time, band = (each.numpy()[order] for each in (points.values[:, 0], points.time, points.band))
    shuffled = pack(values, time, band.astype(np.int8), np.array([0, 9]))
    torch.testing.assert_close(model.encode(shuffled), model.encode(points), atol=1e-5, rtol=1e-4)


def test_attention_has_no_skip_connection() -> None:
    model = Autoencoder(_config(decoder="mha"))
    assert isinstance(model.encoder, MHAEncoder)
    assert isinstance(model.decoder, MHADecoder)
    for module in (model.encoder, model.decoder):
        torch.nn.init.zeros_(module.attention.project_out.weight)
    points = _points()
    torch.testing.assert_close(model.encode(points), model.encoder.attention.project_out.bias.expand(len(LENGTHS), -1))
    decoded = model.decode(torch.randn(len(LENGTHS), model.d_latent), points).mean
    torch.testing.assert_close(decoded, decoded[:1].expand_as(decoded))


def test_sizes_are_those_of_3_3_4() -> None:
    sizes = AutoencoderConfig()
    assert (sizes.d_mha, sizes.d_lstm, sizes.d_mlp, sizes.mlp_blocks) == (192, 64, 64, 4)
    assert (sizes.feature_maps, sizes.kernel, sizes.scale) == (32, 4, 3)
    assert (sizes.n_induction, sizes.kappa, sizes.t_max) == (128, 10, 1)


def test_times_are_modulated_unless_a_recurrence_reads_an_even_grid() -> None:
    for parts in _combinations():
        model = Autoencoder(_config(**parts))
        of_encoder = [module for name, module in model.named_modules() if name.startswith("encoder.")]
        modulated = any(isinstance(module, TimeModulation) for module in of_encoder)
        assert modulated == (parts["encoder"] == "mha" or (parts["encoder"] == "lstm" and not parts["pre_encoder"]))


def test_a_resnet_sees_the_end_of_a_light_curve_as_well_as_its_beginning() -> None:
    config = replace(_config(encoder="resnet", pre_encoder="interpred"), n_induction=128)
    encoder = ResNetEncoder(config, n_values=1)
    values = torch.randn(8, 128, 1, requires_grad=True)
    encoder(regular(values)).square().sum().backward()
    assert values.grad is not None
    weight = values.grad.abs().mean(dim=(0, 2))
    assert (weight[-16:].mean() / weight.median()).item() > 0.5
    assert (weight > 0.1 * weight.median()).all()


def test_interpolation_prediction_is_the_mended_equations() -> None:
    module = InterPred(_config(pre_encoder="interpred"))
    torch.nn.init.normal_(module.rho)
    points = _points()
    channels = module(points).values.view(len(points), -1, 3 * N_BANDS).detach()
    grid = torch.linspace(0, 1, 10)
    alpha = module.log_alpha.exp().detach()
    for row in range(len(points)):
        intensity, low, high = torch.zeros(3, N_BANDS, 10)
        for band in range(N_BANDS):
            own = (points.row == row) & (points.band == band)
            if own.any():
                squared = (grid[:, None] - points.time[own]).square()
                weights, narrow = (-alpha[band] * squared).exp(), (-10 * alpha[band] * squared).exp()
                intensity[band] = weights.sum(1)
                low[band] = weights @ points.values[own, 0] / weights.sum(1)
                high[band] = narrow @ points.values[own, 0] / narrow.sum(1)
        chi = module.rho.detach() @ (intensity * low) / intensity.sum(0)
        expected = torch.cat([intensity, chi, high - chi]).T
        found = torch.where(expected.isnan(), expected, channels[row])  # 0 / 0 far from every point, as printed
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3, equal_nan=True)
    assert channels.isfinite().all()


def test_multi_time_attention_is_a_masked_softmax_over_each_bands_points() -> None:
    module = MTANPreEncoder(_config(pre_encoder="mtan"))
    points = _points()
    found = module(points).values.view(len(points), 10, -1)
    scores = module.scores(points.time).T
    for row in range(len(points)):
        means = torch.zeros(10, N_BANDS)
        for band in range(N_BANDS):
            own = (points.row == row) & (points.band == band)
            if own.any():
                means[:, band] = scores[:, own].softmax(1) @ points.values[own, 0]
        torch.testing.assert_close(found[row], module.output(means))


def test_behind_a_decoder_multi_time_attention_is_a_softmax_over_the_grid() -> None:
    config = _config(post_decoder="mtan")
    module = MTANPostDecoder(config, d_input=4)
    points, decoded = _points(), torch.randn(len(LENGTHS), 10, 4)
    found = module(decoded, points)
    scores = module.scores

    def embedded(time: Tensor, project: torch.nn.Linear) -> Tensor:
        phi = scores.embedding
        found: Tensor = project(torch.cat([phi.linear(time[:, None]), phi.periodic(time[:, None]).sin()], dim=1))
        return found

    key, query = embedded(torch.linspace(0, 1, 10), scores.of_grid), embedded(points.time, scores.of_points)
    weights = (query @ key.T / np.sqrt(config.d_mtan)).softmax(dim=1)  # eq. 2.15
    expected = torch.stack(
        [weights[place] @ decoded[row] @ module.output.weight.T for place, row in enumerate(points.row.tolist())]
    )
    torch.testing.assert_close(found, expected)


def _reconstruction(points: Points) -> tuple[Reconstruction, Tensor]:
    shape = points.time.shape
    return Reconstruction(torch.randn(shape), torch.randn(shape)), torch.rand(shape) + 0.1


def test_losses_are_those_of_gaussians() -> None:
    points = _points((6,))
    reconstruction, variance = _reconstruction(points)
    assert reconstruction.log_variance is not None
    decoded = Normal(reconstruction.mean, (reconstruction.log_variance / 2).exp())
    observed = Normal(points.values[:, 0], variance.sqrt())
    density = decoded.log_prob(points.values[:, 0])  # type: ignore[no-untyped-call]
    torch.testing.assert_close(likelihood(reconstruction, points, variance)[0], -density.mean())
    entropy = observed.entropy()  # type: ignore[no-untyped-call]
    expected = (kl_divergence(observed, decoded) + entropy).mean()
    torch.testing.assert_close(cross_entropy(reconstruction, points, variance)[0], expected)


def test_the_cross_entropy_of_exact_observations_is_the_likelihood() -> None:
    points = _points()
    reconstruction, variance = _reconstruction(points)
    exact = cross_entropy(reconstruction, points, torch.zeros_like(variance))
    torch.testing.assert_close(exact, likelihood(reconstruction, points, variance))
    assert (cross_entropy(reconstruction, points, variance) > exact).all()


def test_long_and_short_light_curves_weigh_the_same() -> None:
    points = _points((2, 20))
    reconstruction = Reconstruction(points.values[:, 0] + 3, None)
    torch.testing.assert_close(mean_squared_error(reconstruction, points, torch.zeros(22)), torch.full((2,), 9.0))


def test_no_variance_is_so_small_that_one_point_outweighs_all_others() -> None:
    model = Autoencoder(_config(loss="likelihood"))
    torch.nn.init.constant_(model.head.bias, -1e3)
    variance = model(_points())[1].log_variance.exp()
    torch.testing.assert_close(variance, torch.full_like(variance, LEAST_VARIANCE))


def test_convolutions_need_a_grid_and_names_must_be_known() -> None:
    with pytest.raises(ValueError, match="the encoder resnet needs a pre-encoder"):
        Autoencoder(_config(encoder="resnet"))
    with pytest.raises(ValueError, match="the decoder resnet needs a post-decoder"):
        Autoencoder(_config(decoder="resnet"))
    with pytest.raises(ValueError, match="no decoder is called 'gru': mha, mlp"):
        Autoencoder(_config(decoder="gru"))


def test_a_light_curve_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="without points"):
        pack(np.zeros(2, np.float32), np.zeros(2, np.float32), np.zeros(2, np.int8), np.array([0, 2, 2]))
