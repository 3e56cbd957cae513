"""One step of training: parts, clipping, averaging, the discriminator's tools, precision, recomputation."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sr_imaging import ConfigError, ModelError
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.training.config.data import DataConfig, ModelConfig
from sr_imaging.training.config.phases import AdversarialConfig, LoopConfig, PixelConfig, ScheduleConfig
from sr_imaging.training.config.run import TrainConfig
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.distributed import ALONE
from sr_imaging.training.learner import Learner, build_learner, fresh_generator, recompute_blocks
from sr_imaging.training.steps import adversarial_step, pixel_step, update_average

CPU = torch.device("cpu")
FLAT = ScheduleConfig("constant", warmup=0)
SCALE = (2, 3)


def settings(**changes: Any) -> TrainConfig:
    """A run of an anisotropic ESPCN on 8 × 12 patches in batches of 4."""
    config = TrainConfig(
        "x",
        DataConfig(("a",), patch=(8, 12), batch=4),
        model=ModelConfig("espcn", {"scale": SCALE, "channels": 4, "in_channels": 2}),
        pixel=PixelConfig(steps=10, schedule=FLAT),
        adversarial=AdversarialConfig(steps=10, ramp=0, schedule=FLAT, arguments={"channels": 4}),
    )
    return replace(config, **changes)


def learner_of(config: TrainConfig) -> Learner:
    torch.manual_seed(1)
    generator = fresh_generator(config)
    with torch.no_grad():
        generator.tail.weight.normal_(std=0.1)  # a fresh one is cubic, which hides differences
    plan = PatchPlan.of(generator, config.data, DegradationConfig())
    return build_learner(config, generator, plan=plan, device=CPU, team=ALONE)


def batches(count: int = 3) -> Iterator[dict[str, Tensor]]:
    random = torch.Generator().manual_seed(7)
    for _ in range(count):
        hr = torch.randn(4, 2, 16, 36, generator=random)
        lr = torch.randn(4, 2, 8 + 8, 12 + 8, generator=random)
        offset, unit = torch.full((4, 2, 1, 1), 9.0), torch.full((4, 1, 1, 1), 3.0)
        yield {"lr": lr, "hr": hr, "offset": offset, "unit": unit}


def weights(module: nn.Module | None) -> list[Tensor]:
    assert module is not None
    return [value.clone() for value in module.state_dict().values()]


@pytest.mark.parametrize("step", [pixel_step, adversarial_step])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_makes_the_step_of_the_whole_batch(step: Any, parts: int) -> None:
    whole, cut = (learner_of(settings(loop=LoopConfig(accumulate=n))) for n in (1, parts))
    rows = [step(learner, 3, batches()) for learner in (whole, cut)]
    for one, other in zip(weights(whole.generator), weights(cut.generator), strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-4)  # sums in another order
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)


def test_clipping_limits_the_gradient_that_moves_the_weights() -> None:
    learner = learner_of(
        settings(loop=LoopConfig(clip=0.01), pixel=PixelConfig(10, "l2", rate=1.0, schedule=FLAT))
    )
    learner.optimisers["generator"] = torch.optim.SGD(learner.generator.parameters())
    before = weights(learner.generator)
    row = pixel_step(learner, 0, batches())
    moved = sum(
        float((a - b).square().sum()) for a, b in zip(before, weights(learner.generator), strict=True)
    )
    assert row["gradient_norm"] > 0.05
    assert moved**0.5 == pytest.approx(0.01, rel=1e-3)


def test_terms_of_a_step_add_up_to_its_loss() -> None:
    pixel = PixelConfig(10, terms={"gradient": 0.3, "total_variation": 0.01}, schedule=FLAT)
    game = replace(settings().adversarial, feature_weight=0.5)
    row = adversarial_step(learner_of(settings(pixel=pixel, adversarial=game)), 3, batches())
    parts = row["pixel"] + row["structure"] + row["adversarial"] + row["feature"]
    assert row["loss"] == pytest.approx(parts, rel=1e-5)
    assert row["structure"] > 0


def test_spectral_angle_is_that_of_the_spectra_in_their_own_unit() -> None:
    pixel = PixelConfig(10, terms={"spectral_angle": 2.0}, schedule=FLAT)
    learner = learner_of(settings(pixel=pixel))
    batch = next(batches())
    with torch.no_grad():
        sr, hr = 9 + 3 * learner.generator(batch["lr"]), 9 + 3 * batch["hr"]
    wanted = torch.arccos(torch.cosine_similarity(sr, hr, dim=1)).mean()
    row = pixel_step(learner, 0, iter([batch]))
    assert row["structure"] == pytest.approx(2 * float(wanted), rel=1e-3)


def test_generator_step_leaves_the_discriminator_alone_and_the_reverse() -> None:
    learner = learner_of(settings(adversarial=replace(settings().adversarial, rate=1e-30)))
    frozen = weights(learner.generator)
    before = weights(learner.discriminator)
    adversarial_step(learner, 0, batches())
    assert all(torch.allclose(a, b) for a, b in zip(frozen, weights(learner.generator), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(learner.discriminator), strict=True))


@pytest.mark.parametrize("d_steps", [1, 3])
def test_discriminator_takes_its_steps_on_batches_of_its_own(d_steps: int) -> None:
    learner = learner_of(settings(adversarial=replace(settings().adversarial, d_steps=d_steps)))
    source = batches(4)
    adversarial_step(learner, 0, source)
    taken = {int(state["step"]) for state in learner.optimisers["discriminator"].state.values()}
    assert taken == {d_steps}
    assert {int(state["step"]) for state in learner.optimisers["generator"].state.values()} == {1}
    assert len(list(source)) == 4 - d_steps


@pytest.mark.parametrize("loss", ["vanilla", "lsgan", "hinge", "wgan", "wgan-gp", "relativistic"])
def test_every_game_moves_both_players(loss: str) -> None:
    arguments = {"channels": 4, "norm": "none"}
    learner = learner_of(
        settings(adversarial=replace(settings().adversarial, loss=loss, arguments=arguments))
    )
    before = weights(learner.generator), weights(learner.discriminator)
    row = adversarial_step(learner, 2, batches())
    after = weights(learner.generator), weights(learner.discriminator)
    for old, new in zip(before, after, strict=True):
        assert sum(torch.equal(a, b) for a, b in zip(old, new, strict=True)) <= 1  # a bias that cancels
    assert ("penalty" in row) == (loss == "wgan-gp")
    assert 0 <= row["accuracy_hr"] <= 1
    assert 0 <= row["accuracy_sr"] <= 1


def test_wgan_keeps_the_weights_of_its_critic_small() -> None:
    arguments = {"channels": 4, "norm": "none"}
    game = AdversarialConfig(10, "wgan", discriminator_rate=1.0, schedule=FLAT, arguments=arguments)
    learner = learner_of(settings(adversarial=game))
    adversarial_step(learner, 0, batches())
    assert max(float(value.abs().max()) for value in weights(learner.discriminator)) <= 0.01


def test_penalty_that_is_asked_for_enters_the_loss_of_the_discriminator() -> None:
    game = replace(settings().adversarial, penalty="r1", penalty_weight=5.0)
    plain, pulled = learner_of(settings()), learner_of(settings(adversarial=game))
    rows = [adversarial_step(learner, 0, batches()) for learner in (plain, pulled)]
    assert "penalty" not in rows[0]
    assert rows[1]["penalty"] > 0
    different = zip(weights(plain.discriminator), weights(pulled.discriminator), strict=True)
    assert any(not torch.equal(a, b) for a, b in different)


def test_instance_noise_fades_over_the_phase() -> None:
    quiet, noisy = (
        learner_of(settings(adversarial=replace(settings().adversarial, instance_noise=noise)))
        for noise in (0.0, 2.0)
    )
    assert quiet.discriminator is not None
    assert noisy.discriminator is not None
    seen: dict[str, list[Tensor]] = {"quiet": [], "noisy": []}
    quiet.discriminator.register_forward_pre_hook(lambda _, args: seen["quiet"].append(args[0].detach()))
    noisy.discriminator.register_forward_pre_hook(lambda _, args: seen["noisy"].append(args[0].detach()))
    strengths = []
    for step in (0, 5):
        for learner, name in ((quiet, "quiet"), (noisy, "noisy")):
            seen[name].clear()
            torch.manual_seed(step)
            adversarial_step(learner, step, batches())
        strengths.append(float((seen["noisy"][0] - seen["quiet"][0]).std()))
    assert strengths == pytest.approx([2.0, 1.0], rel=0.1)


def test_diversity_is_that_of_the_whole_batch() -> None:
    whole, cut = (learner_of(settings(loop=LoopConfig(accumulate=n))) for n in (1, 4))
    batch = next(batches())
    with torch.no_grad():
        sr = whole.generator(batch["lr"])
    wanted = float(sr.std(0).mean() / batch["hr"].std(0).mean())
    for learner in (whole, cut):
        row = adversarial_step(learner, 3, iter([batch]))
        assert row["diversity"] == pytest.approx(wanted, rel=1e-4)  # float32 sums


def test_smoothed_label_is_that_of_hr_alone() -> None:
    plain, smooth = (
        learner_of(settings(adversarial=replace(settings().adversarial, loss="lsgan", label_smoothing=s)))
        for s in (0.0, 0.2)
    )
    rows = [adversarial_step(learner, 0, batches()) for learner in (plain, smooth)]
    assert rows[0]["discriminator"] != rows[1]["discriminator"]
    assert rows[0]["adversarial"] == rows[1]["adversarial"]


def test_watched_factor_multiplies_the_rate() -> None:
    learner = learner_of(settings())
    learner.watch.lowered["generator"] = 2
    row = pixel_step(learner, 0, batches())
    assert row["rate"] == pytest.approx(1e-3 / 4)
    assert learner.optimisers["generator"].param_groups[0]["lr"] == pytest.approx(1e-3 / 4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_step_is_near_the_full_one(precision: str) -> None:
    full, low = (learner_of(settings(loop=LoopConfig(precision=p))) for p in ("float32", precision))
    rows = [pixel_step(learner, 0, batches()) for learner in (full, low)]
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=0.02)
    assert {value.dtype for value in weights(low.generator)} == {torch.float32}


def test_overflow_in_fp16_leaves_the_step_out_and_says_so() -> None:
    learner = learner_of(settings(loop=LoopConfig(precision="fp16")))
    learner.scalers["generator"] = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    before = weights(learner.generator)
    row = pixel_step(learner, 0, batches())
    assert row["overflow"] == 1.0
    assert "gradient_norm" not in row
    assert all(torch.equal(a, b) for a, b in zip(before, weights(learner.generator), strict=True))
    assert learner.scalers["generator"].get_scale() == 2.0**119


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_lost_numbers_end_the_run_before_the_weights_move(precision: str) -> None:
    learner = learner_of(settings(loop=LoopConfig(precision=precision)))
    before = weights(learner.generator)
    batch = next(batches())
    batch["lr"][1, 0, 5, 5] = float("nan")
    with pytest.raises(ModelError, match="the generator diverged: its loss is nan"):
        pixel_step(learner, 0, iter([batch]))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(learner.generator), strict=True))


def test_average_moves_towards_the_generator_by_its_decay() -> None:
    mean, generator = (learner_of(settings()).generator for _ in range(2))
    old = mean.state_dict()["tail.weight"].clone()
    with torch.no_grad():
        generator.get_parameter("tail.weight").add_(1)
    update_average(mean, generator, decay=0.9, done=1000)
    torch.testing.assert_close(mean.state_dict()["tail.weight"], old + 0.1)


def blocks() -> TrainConfig:
    arguments = {"scale": SCALE, "channels": 6, "blocks": 3, "in_channels": 2}
    return settings(model=ModelConfig("srresnet", arguments), data=DataConfig(("a",), patch=(8, 12), batch=2))


def kept_bytes(generator: nn.Module, lr: Tensor) -> tuple[int, list[Tensor]]:
    """Bytes that a forward pass keeps for the way back, and the gradients that follow."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = generator(lr)
    total = sum(kept.values())
    out.square().sum().backward()
    return total, [p.grad for p in generator.parameters() if p.grad is not None]


def test_recomputed_blocks_keep_less_and_give_the_same_gradients() -> None:
    torch.manual_seed(2)
    plain = fresh_generator(blocks())
    with torch.no_grad():
        plain.tail.weight.normal_(std=0.1)
    lean = deepcopy(plain)
    recompute_blocks(lean, "srresnet")
    lr = torch.randn(2, 2, 40, 44)
    (full, wanted), (less, found) = (kept_bytes(generator, lr) for generator in (plain, lean))
    assert less < 0.6 * full
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_recomputed_blocks_count_a_batch_once_in_their_norms() -> None:
    arguments = {"scale": SCALE, "channels": 4, "levels": 1, "in_channels": 2}
    plain = fresh_generator(settings(model=ModelConfig("transposed", arguments)))
    lean = deepcopy(plain)
    recompute_blocks(lean, "transposed")
    lr = torch.randn(2, 2, 8, 12)
    for generator in (plain, lean):
        generator(lr).square().sum().backward()
    seen = [dict(generator.named_buffers()) for generator in (plain, lean)]
    assert any("running_mean" in name for name in seen[0])
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])


def test_generator_without_blocks_cannot_recompute() -> None:
    with pytest.raises(ConfigError, match=r"'espcn' has no blocks to compute again; set loop.recompute"):
        recompute_blocks(fresh_generator(settings()), "espcn")
