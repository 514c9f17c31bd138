"""The network's outputs mean what `Output` says."""

import pytest
import torch

from dermaflow.errors import TrainingError
from dermaflow.model.network import build
from dermaflow.model.params import ModelParams


def made(**changes):
    torch.manual_seed(0)
    params = {"backbone": "test_efficientnet", "weights": "none", "stored_px": 64, "input_px": 64, **changes}
    network = build(ModelParams(**params), 9)
    torch.nn.init.normal_(network.head.weight)
    if network.patient is not None:
        torch.nn.init.normal_(network.patient[-1].weight)
    return network


@pytest.fixture
def cases():
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=generator)
    return image, torch.randn((4, 11), generator=generator)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_convnext", "test_vit"])
def test_the_mean_of_a_map_and_the_bias_give_the_plain_logit(backbone, cases):
    size = 160 if backbone == "test_vit" else 64
    network = made(backbone=backbone, stored_px=size, input_px=size).eval()
    image = torch.nn.functional.interpolate(cases[0].permute(0, 3, 1, 2).float(), size).byte()
    with torch.no_grad():
        out = network(image.permute(0, 2, 3, 1), cases[1])
    torch.testing.assert_close(
        out.cam.mean((2, 3)) + network.head.bias, out.plain_logits, atol=1e-4, rtol=1e-4
    )
    assert out.features.shape == (4, network.width)
    levels = network.backbone.feature_info
    channels = [level["num_chs"] for level in (levels if isinstance(levels, list) else levels.get_dicts())]
    assert out.middle.shape == (4, 2 * channels[(len(channels) + 1) // 2])
    deviations = out.middle[:, out.middle.shape[1] // 2 :]
    assert (deviations > 0).any()
    assert torch.isfinite(out.middle).all()


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "tf_efficientnet_b4", "test_vit"])
def test_a_look_half_way_changes_nothing_at_the_end(backbone, cases):
    size = 160 if backbone == "test_vit" else 64
    network = made(backbone=backbone, stored_px=size, input_px=size).eval()
    image = (
        torch.nn.functional.interpolate(cases[0].permute(0, 3, 1, 2).float(), size).byte().permute(0, 2, 3, 1)
    )
    with torch.no_grad():
        out = network(image, cases[1])
        pixels = (image.permute(0, 3, 1, 2).float() - network.mean) / network.deviation
        plain = network.backbone.forward_features(pixels)
    plain = (
        plain[:, network.backbone.num_prefix_tokens :].mean(1)
        if backbone == "test_vit"
        else plain.mean((2, 3))
    )
    unit = plain.abs().max()  # deep networks of random weights say very little
    torch.testing.assert_close(out.features / unit, plain / unit)


def test_the_patient_moves_the_logits_and_never_the_plain_ones(cases):
    network, (image, patient) = made().eval(), cases
    with torch.no_grad():
        one, other = network(image, patient), network(image, patient + 1)
    assert torch.equal(one.plain_logits, other.plain_logits)
    assert (one.logits - other.logits).abs().min() > 1e-6


def test_a_branch_that_is_off_leaves_the_plain_logits(cases):
    network = made(patient=False).eval()
    with torch.no_grad():
        out = network(*cases)
    assert torch.equal(out.logits, out.plain_logits)
    assert not [name for name, _ in network.named_parameters() if name.startswith("patient")]


@pytest.mark.parametrize(("drop", "same"), [(1.0, True), (0.0, False)])
def test_training_drops_patient_data_by_the_chance_given(drop, same, cases):
    network = made(patient_drop=drop, dropout=0).train()
    out = network(*cases)
    assert torch.equal(out.logits, out.plain_logits) is same


def test_training_drops_each_patients_data_for_itself(cases):
    network = made(patient_drop=0.5, dropout=0).train()
    image, patient = (part.repeat(8, *[1] * (part.ndim - 1)) for part in cases)
    out = network(image, patient)
    dropped = (out.logits == out.plain_logits).all(dim=1)
    assert 8 <= dropped.sum() <= 24  # of 32


def test_more_draws_of_dropout_come_nearer_to_their_mean():
    features = torch.ones(2000, made().width)
    deviations = [made(dropout=0.5, dropout_draws=n).train()._dropped(features).std().item() for n in (1, 4)]
    assert deviations == pytest.approx([1, 0.5], rel=0.02)


def test_dropout_acts_in_training_only_and_keeps_the_mean(cases):
    network = made(dropout=0.5, dropout_draws=1).train()
    features = torch.ones(2000, network.width)
    dropped = network._dropped(features)
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert set(dropped.unique().tolist()) == {0, 2}
    assert torch.equal(network.eval()._dropped(features), features)


def test_pixels_are_normalised_with_the_pretrainings_own_figures():
    network = made(backbone="tf_efficientnet_lite0")
    assert network.mean.flatten().tolist() == [127.5] * 3
    assert network.deviation.flatten().tolist() == [127.5] * 3
    assert (
        made(backbone="test_resnet").mean.flatten().tolist()
        != made(backbone="resnet18").mean.flatten().tolist()
    )


def test_an_unknown_backbone_is_an_error_with_a_suggestion():
    with pytest.raises(TrainingError, match=r"timm has no model 'efficientnet_lite0x'"):
        made(backbone="efficientnet_lite0x")
    with pytest.raises(TrainingError, match="Did you mean"):
        made(backbone="tf_efficientnet_light0")


def test_batch_norm_takes_the_momentum_of_params():
    momenta = {m.momentum for m in made(bn_momentum=0.02).modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert momenta == {0.02}


def test_a_name_that_timm_has_renamed_and_a_family_without_stages_are_built():
    with pytest.warns(UserWarning, match="deprecated model name"):
        renamed = made(backbone="tf_efficientnet_b0_ns")
    for network, px in ((renamed, 64), (made(backbone="pit_ti_224", stored_px=224, input_px=224), 224)):
        with torch.no_grad():
            out = network.eval()(torch.zeros(2, px, px, 3, dtype=torch.uint8), torch.zeros(2, 11))
        assert out.logits.shape == (2, 9)


@pytest.mark.parametrize(
    ("backbone", "changes"),
    [
        ("pit_ti_224", {"frozen_stages": 1}),
        ("pit_ti_224", {"layer_decay": 0.8}),
        ("coat_lite_tiny", {}),
        ("hrnet_w18_small", {"early_px": 100, "early_epochs": 1}),
        ("nest_tiny", {"input_px": 200}),
        ("xcit_nano_12_p16_224", {"input_px": 150}),
    ],
)
def test_a_backbone_that_can_not_be_used_is_refused_by_its_name(backbone, changes):
    with pytest.raises(TrainingError, match=f"{backbone} does not fit this network"):
        made(backbone=backbone, **{"stored_px": 224, "input_px": 224, **changes})


def test_more_stages_than_there_are_can_not_be_frozen():
    with pytest.raises(TrainingError, match=r"has 6 stages, of which 7 can't.*Set it to 6 at most"):
        made(frozen_stages=7)
    assert not any(weight.requires_grad for weight in made(frozen_stages=6).backbone.parameters())


def test_patches_that_would_leave_the_border_unseen_are_refused():
    with pytest.raises(TrainingError, match=r"patches of 16 px, .* not see the last 8 of 200.*multiple"):
        made(backbone="vit_tiny_patch16_224", stored_px=200, input_px=200)
    assert made(backbone="vit_tiny_patch16_224", stored_px=96, input_px=96).width == 192
    assert made(backbone="pvt_v2_b0").width == 256  # its patches overlap, and reach over the border


def test_what_learns_is_in_training_whatever_its_root_owns():
    """All that XCiT's root owns itself is frozen; its blocks learn, with their batch-norm statistics."""
    network = made(backbone="xcit_nano_12_p16_224", frozen_stages=1).train()
    norms = [module for module in network.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    learning = [module.weight.requires_grad for module in norms]
    assert [module.training for module in norms] == learning
    assert 0 < sum(learning) < len(norms)
