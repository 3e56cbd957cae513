"""Model files come back as they were saved, and a file that is anything else only ever raises ModelError."""

import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import SMALL, fill_zoo, generator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sr_imaging import ModelError, WriteError
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import list_models, load_model, read_card, save_model
from sr_imaging.networks import CLASSICAL, GENERATORS

ARGUMENTS = {"scale": (2, 3), "channels": 4}
EXECUTED: list[str] = []


def execute(text: str) -> str:
    EXECUTED.append(text)
    return text


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return execute, ("boom",)


def card(**changes: Any) -> ModelCard:
    module = generator("espcn", **ARGUMENTS)
    return replace(ModelCard.of(module, name="tiny", architecture="espcn", arguments=ARGUMENTS), **changes)


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return save_model(generator("espcn", **ARGUMENTS), tmp_path / "tiny.safetensors", card())


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Save the file anew with a changed card."""
    header_size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    stored = json.loads(json.loads(path.read_bytes()[8 : 8 + header_size])["__metadata__"]["sr_imaging"])
    changed = change(stored)
    text = changed if isinstance(changed, str) else json.dumps(stored if changed is None else changed)
    save_file(load_file(path), path, metadata={"sr_imaging": text})
    return path


def put(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda stored: stored.update(changes)


def test_model_comes_back_with_weights_and_card(tmp_path: Path) -> None:
    module = generator("espcn", **ARGUMENTS)
    facts = card(
        bands=("red", "green"),
        spacing_range=(10.0, 20.5),
        metrics={"psnr_db": {"cubic": 30.1, "model": 31.2}},
        data_sources=("Ä, CC-BY",),
        bf16_loss_db=0.01,
        versions={"torch": "2.13"},
    )
    path = save_model(module, tmp_path / "tiny.safetensors", facts)
    loaded: Any = load_model(path)
    assert replace(loaded.card, sha256="") == replace(facts, arguments={"scale": [2, 3], "channels": 4})
    for key, tensor in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)


@pytest.mark.parametrize("architecture", sorted(set(GENERATORS) - set(CLASSICAL)))
@pytest.mark.parametrize("scale", [(2, 3), (1, 2, 2)])
def test_every_architecture_comes_back_from_its_file(
    tmp_path: Path, architecture: str, scale: tuple[int, ...]
) -> None:
    extent = {"scale_range": [(1.0, s * 1.5) for s in scale]} if architecture == "vdsr" else {"scale": scale}
    arguments: dict[str, Any] = {"channels": 8, **SMALL.get(architecture, {}), **extent}
    module = generator(architecture, **arguments)
    facts = ModelCard.of(module, name="tiny", architecture=architecture, arguments=arguments)
    loaded: Any = load_model(save_model(module, tmp_path / "tiny.safetensors", facts))
    for key, tensor in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    for fact in ("scale", "axes", "halo", "in_channels", "scale_range", "fixed_values", "multiple"):
        assert getattr(loaded, fact) == getattr(module, fact)


def test_card_of_before_any_factor_is_still_read(model_path: Path) -> None:
    assert read_card(rewrite(model_path, lambda card: card.pop("scale_range"))).scale_range is None


def test_loaded_model_makes_the_same_bits(model_path: Path) -> None:
    x = torch.rand(1, 1, 12, 13)
    assert torch.equal(load_model(model_path)(x), generator("espcn", **ARGUMENTS)(x))


def test_loaded_model_is_frozen_and_in_evaluation_mode(model_path: Path) -> None:
    module = load_model(str(model_path))
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())


def test_card_states_the_hash_of_the_file(model_path: Path) -> None:
    import hashlib

    assert read_card(model_path).sha256 == hashlib.sha256(model_path.read_bytes()).hexdigest()


def test_saving_does_not_touch_the_module(tmp_path: Path) -> None:
    module = generator("espcn", **ARGUMENTS).train()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    save_model(module, tmp_path / "tiny.safetensors", card())
    assert module.training
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())


def test_existing_file_is_kept_unless_overwriting(model_path: Path) -> None:
    before = model_path.read_bytes()
    module = generator("espcn", seed=9, **ARGUMENTS)
    with pytest.raises(WriteError, match="exists; pass overwrite=True"):
        save_model(module, model_path, card())
    assert model_path.read_bytes() == before
    save_model(module, model_path, card(), overwrite=True)
    assert model_path.read_bytes() != before


def test_diverged_weights_are_not_saved(tmp_path: Path) -> None:
    module = generator("espcn", **ARGUMENTS)
    with torch.no_grad():
        module.tail.weight[0] = torch.nan
    with pytest.raises(
        ModelError, match=r"weight 'tail.weight' of .* is not finite; the training has diverged"
    ):
        save_model(module, tmp_path / "tiny.safetensors", card())
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_architecture_are_not_saved(tmp_path: Path) -> None:
    module = generator("espcn", scale=(2, 3), channels=6)
    with pytest.raises(ModelError, match=r"weight 'features.0.weight' of .* has shape .*; correct the card"):
        save_model(module, tmp_path / "tiny.safetensors", card())


def test_card_that_is_not_of_the_module_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"states scale \(4, 4\), but .* has \(2, 3\); correct the card"):
        save_model(generator("espcn", **ARGUMENTS), tmp_path / "a.safetensors", card(scale=(4, 4)))


def test_fixed_values_of_the_card_reach_the_generator(tmp_path: Path) -> None:
    module = generator("espcn", **ARGUMENTS)
    module.fixed_values = (-1000.0, 500.0)
    facts = ModelCard.of(module, name="fixed", architecture="espcn", arguments=ARGUMENTS)
    loaded: Any = load_model(save_model(module, tmp_path / "a.safetensors", facts))
    assert loaded.fixed_values == (-1000.0, 500.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("tail.weight"), "lacks the weight 'tail.weight'"),
        (
            lambda t: t.update(extra=torch.zeros(2)),
            "has a weight 'extra' that its architecture does not have",
        ),
        (
            lambda t: t.update({"tail.weight": t["tail.weight"][:, :1].contiguous()}),
            "weight 'tail.weight' of .* has shape (6, 1, 3, 3), not (6, 2, 3, 3)",
        ),
        (
            lambda t: t.update({"tail.weight": t["tail.weight"].double()}),
            "is torch.float64, not",
        ),
        (
            lambda t: t.update({"tail.weight": t["tail.weight"] * torch.nan}),
            "'tail.weight' of .* is not finite",
        ),
        (
            lambda t: (t.pop("features.2.weight"), t.pop("tail.weight")),
            "lacks the weight 'features.2.weight'",
        ),
    ],
)
def test_first_wrong_weight_is_named(model_path: Path, change: Any, text: str) -> None:
    tensors = load_file(model_path)
    header = model_path.read_bytes()[8 : 8 + struct.unpack("<Q", model_path.read_bytes()[:8])[0]]
    change(tensors)
    save_file(tensors, model_path, metadata=json.loads(header)["__metadata__"])
    with pytest.raises(ModelError, match=re.escape(text).replace(r"\.\*", ".*")):
        load_model(model_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (put(format=2), "has format 2, newer than 1; update sr_imaging"),
        (put(format="1"), "does not state its format"),
        (lambda s: s.pop("format") and None, "does not state its format"),
        (put(colour="red"), "has an unknown entry 'colour'; update"),
        (lambda s: s.pop("scale") and None, "lacks 'scale'"),
        (lambda s: s.pop("arguments") and None, "lacks 'arguments'"),
        (put(architecture="unet"), "has architecture 'unet', unknown here"),
        (put(architecture=["espcn"]), "has ['espcn'] in 'architecture'"),
        (put(arguments=[1, 2]), "has [1, 2] in 'arguments'"),
        (put(arguments={"scale": [2, 3], "width": 4}), "takes no argument 'width'"),
        (put(arguments={"scale": [2, 3], "channels": "many"}), "espcn cannot be built"),
        (put(arguments={"scale": [2, 3], "channels": 10**12}), "1000000000000"),
        (put(arguments={"scale": [10**9, 3], "channels": 4}), "1000000000"),
        (put(architecture="srresnet", arguments={"scale": [2, 3], "blocks": 10**9}), "1000000000"),
        (put(arguments={"scale": [-2, 3]}), "does not work with scale"),
        (put(arguments={"scale": []}), "a scale of 0 numbers has no network"),
        (put(arguments={"scale": "ab"}), "cannot be built"),
        (put(arguments={"scale": None}), "cannot be built"),
        (put(scale=4), "has 4 in 'scale'"),
        (put(scale=[4, 4]), "states scale (4, 4), but"),
        (put(axes="yx"), "has 'yx' in 'axes'"),
        (put(axes=["z", "plane"]), "states axes ('z', 'plane'), but"),
        (put(in_channels=3), "states in_channels 3, but"),
        (put(spatial_dims=3), "states spatial_dims 3, but"),
        (put(halo={"y": 1}), "has {'y': 1} in 'halo'"),
        (put(name=None), "has None in 'name'"),
        (put(values={"kind": "fixed"}), "has {'kind': 'fixed'} in 'values'"),
        (put(values={"kind": "percentile"}), "has {'kind': 'percentile'} in 'values'"),
        (put(values={"kind": "fixed", "offset": 0, "scale": 0}), "in 'values'"),
        (put(values={"kind": "fixed", "offset": "a", "scale": 1}), "in 'values'"),
        (put(values=None), "in 'values'"),
        (put(spacing_range=[1.0]), "has [1.0] in 'spacing_range'"),
        (put(bf16_loss_db="small"), "has 'small' in 'bf16_loss_db'"),
        (put(metrics=[]), "has [] in 'metrics'"),
        (lambda s: [s], "does not state its format"),
        (lambda s: "null", "does not state its format"),
        (lambda s: "{", "is not JSON"),
        (lambda s: "[" * 100_000, "is not JSON"),
        (lambda s: '{"format": ' + "9" * 5000 + "}", "is not JSON"),
        (lambda s: "", "is not JSON"),
    ],
)
def test_wrong_card_is_refused(model_path: Path, change: Any, text: str) -> None:
    path = rewrite(model_path, change)
    with pytest.raises(ModelError, match=re.escape(text)):
        load_model(path)


@pytest.mark.parametrize("version", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused_and_never_run(tmp_path: Path, version: int) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb(), protocol=version))
    with pytest.raises(ModelError, match="is a pickled checkpoint, which could run code; export"):
        load_model(path)
    assert EXECUTED == []


def test_old_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb(), protocol=0))
    with pytest.raises(ModelError, match="is not a complete safetensors file"):
        load_model(path)
    assert EXECUTED == []


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_checkpoint_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"weight": torch.zeros(2), "bomb": Bomb()}, path, _use_new_zipfile_serialization=zipped)
    for read in (load_model, read_card):
        with pytest.raises(ModelError, match="is a pickled checkpoint"):
            read(path)
    assert EXECUTED == []


def test_the_bomb_is_real() -> None:
    pickle.loads(pickle.dumps(Bomb()))
    assert EXECUTED == ["boom"]
    EXECUTED.clear()


@pytest.mark.parametrize("padding", range(0, 512, 8))
def test_header_of_any_length_is_no_pickle(model_path: Path, padding: int) -> None:
    # the file begins with the header's length, whose first bytes can be those of a pickle
    path = rewrite(model_path, put(description="x" * padding))
    assert read_card(path).description == "x" * padding


def test_header_lengths_met_the_first_byte_of_a_pickle(model_path: Path) -> None:
    starts = {rewrite(model_path, put(description="x" * n)).read_bytes()[0] for n in range(0, 264, 8)}
    assert 0x80 in starts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_truncated_file_is_refused(model_path: Path, share: float) -> None:
    whole = model_path.read_bytes()
    path = model_path.with_name("cut.safetensors")
    path.write_bytes(whole[: int(len(whole) * share)])
    for read in (load_model, read_card):
        with pytest.raises(ModelError, match=r"is not a complete safetensors file .*; copy it again"):
            read(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "random.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"is not a complete safetensors file|is a pickled checkpoint"):
        load_model(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1200), byte=st.integers(0, 255))
def test_changed_header_byte_never_raises_anything_else(model_path: Path, place: int, byte: int) -> None:
    data = bytearray(model_path.read_bytes())
    data[place % len(data)] = byte
    path = model_path.with_name("changed.safetensors")
    path.write_bytes(bytes(data))
    try:
        loaded = load_model(path)
    except ModelError:
        return
    assert loaded.card.architecture  # a byte that changes nothing that matters


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
        with pytest.raises(ModelError, match="is safetensors without a card of ours; save it"):
            load_model(path)


@pytest.mark.parametrize("name", ["", "nowhere", "no/where.safetensors", "a\0b"])
def test_missing_model_names_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError, match=r"no model .*; use a model file or one of .*cubic"):
        load_model(name)


def test_name_too_long_for_a_file_is_no_model() -> None:
    with pytest.raises(ModelError, match=r"no model 'xxxx.*; use a model file"):
        load_model("x" * 5000)


def test_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        load_model(tmp_path)


def test_unreadable_file_is_refused(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # root may read anything, so the mode bits prove nothing
    with pytest.raises(ModelError, match=r"cannot be read .*Permission denied.*; check"):
        load_model(model_path)


@pytest.mark.skipif(os.name != "posix", reason="named pipes of POSIX")
def test_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="no model"):
        load_model(tmp_path / "pipe")


def test_bundled_model_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_zoo(tmp_path)
    monkeypatch.setattr("sr_imaging.models.model_file.ZOO", tmp_path)
    assert [c.name for c in list_models()] == ["ct-through-x4", "mr-through-x4", "raster-x2"]
    loaded: Any = load_model("raster-x2")
    assert loaded.card == read_card("raster-x2")
    with pytest.raises(ModelError, match="one of ct-through-x4, mr-through-x4, raster-x2, nearest"):
        load_model("raster-x9")


def test_model_of_a_path_that_looks_like_a_name_is_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_zoo(tmp_path)
    monkeypatch.setattr("sr_imaging.models.model_file.ZOO", tmp_path)
    with pytest.raises(ModelError, match="no model"):
        load_model("../raster-x2")


def test_interpolation_needs_its_scale() -> None:
    with pytest.raises(ModelError, match="'cubic' has no scale of its own; give scale"):
        load_model("cubic")
    first: Any = load_model("cubic", scale=(2, 3))
    second: Any = load_model("cubic", scale=(3, 2))
    assert first.card.scale == (2, 3)
    assert first.card.sha256 != second.card.sha256


def test_scale_of_a_trained_model_cannot_be_changed(model_path: Path) -> None:
    assert load_model(model_path, scale=(2, 3))
    with pytest.raises(ModelError, match=re.escape("tiny has scale (2, 3), not (4, 4); leave scale out")):
        load_model(model_path, scale=(4, 4))


def test_files_hold_numbers_and_text_only(model_path: Path) -> None:
    data = model_path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    end = max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    assert len(data) == 8 + size + end
    assert np.isfinite(np.frombuffer(data[8 + size :], np.float32)).all()
