"""Bundles: found by name, opened, verified; whatever is wrong is named with its remedy."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from m3search.encoders import load_encoder
from m3search.encoders.bundle import Bundle, describe_input, find_bundle, list_bundles, parse_input, seal
from m3search.errors import BundleError
from m3search.types import InputSpec


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    """Change bundle.json and seal the bundle again, as an exporter that got it wrong would."""
    description = json.loads((folder / "bundle.json").read_bytes())
    change(description)
    (folder / "bundle.json").write_text(json.dumps(description))
    seal(folder)


def test_open_reads_the_description(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert (bundle.name, bundle.dim, bundle.max_tokens) == ("tiny", 16, 8)
    assert bundle.inputs["ct"].windows[0] == (-600.0, 1500.0)
    assert bundle.text.weights == ("text.safetensors",)
    assert bundle.size_bytes() > 100_000
    bundle.verify()


def test_fingerprint_is_the_checksum_of_the_checksums(tiny_bundle: Path) -> None:
    seal_file = (tiny_bundle / "SHA256SUMS").read_bytes()
    assert Bundle.open(tiny_bundle).fingerprint == hashlib.sha256(seal_file).hexdigest()
    line = next(line for line in seal_file.decode().splitlines() if line.endswith("  xray.onnx"))
    assert line.split()[0] == hashlib.sha256((tiny_bundle / "xray.onnx").read_bytes()).hexdigest()


def test_fingerprint_follows_content_not_place(tiny_bundle: Path, copy: Path) -> None:
    assert Bundle.open(copy).fingerprint == Bundle.open(tiny_bundle).fingerprint
    (copy / "MODEL_CARD.md").write_text("changed")
    assert seal(copy) == Bundle.open(copy).fingerprint != Bundle.open(tiny_bundle).fingerprint


@pytest.mark.parametrize("name", ["xray.onnx", "text.safetensors", "tokenizer.json"])
def test_verify_names_the_damaged_file(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} does not match its checksum"):
        Bundle.open(copy).verify()


def test_damaged_tower_is_refused_when_it_is_loaded(copy: Path) -> None:
    (copy / "text.safetensors").write_bytes(b"0" * (copy / "text.safetensors").stat().st_size)
    with pytest.raises(BundleError, match=r"text\.safetensors does not match"):
        load_encoder(copy).encode_text(["chest"])


def test_changed_description_is_refused_at_once(copy: Path) -> None:
    (copy / "bundle.json").write_bytes((copy / "bundle.json").read_bytes().replace(b'"tiny"', b'"tony"'))
    with pytest.raises(BundleError, match=r"bundle\.json does not match"):
        Bundle.open(copy)


def test_foreign_file_is_found_by_verify(copy: Path) -> None:
    (copy / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"notes\.txt does not belong"):
        Bundle.open(copy).verify()


@pytest.mark.parametrize("name", ["xray.onnx", "SHA256SUMS", "bundle.json", "tokenizer.json"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.open(copy)


def test_description_must_name_sealed_files(copy: Path) -> None:
    rewrite(copy, lambda description: description["modalities"]["ct"].update(file="../ct.onnx"))
    with pytest.raises(BundleError, match=r"names \.\./ct\.onnx"):
        Bundle.open(copy)


@pytest.mark.parametrize("key", ["format", "preprocessing"])
def test_other_version_is_refused(copy: Path, key: str) -> None:
    rewrite(copy, lambda description: description.update({key: 99}))
    with pytest.raises(BundleError, match=rf"its {key} is 99, this m3search runs 1"):
        Bundle.open(copy)


def test_incomplete_description_names_what_lacks(copy: Path) -> None:
    rewrite(copy, lambda description: description["text"].pop("max_tokens"))
    with pytest.raises(BundleError, match="max_tokens"):
        Bundle.open(copy)


@pytest.mark.parametrize("inputs", [[], ["attention_mask"], ["input_ids", "pixels"]])
def test_text_tower_that_takes_something_else_is_refused(copy: Path, inputs: list[str]) -> None:
    rewrite(copy, lambda description: description["text"].update(inputs=inputs))
    with pytest.raises(BundleError, match="the inputs of the text tower"):
        Bundle.open(copy)


def test_description_of_no_bundle(copy: Path) -> None:
    (copy / "bundle.json").write_text("[1, 2]")
    seal(copy)
    with pytest.raises(BundleError, match="holds no description"):
        Bundle.open(copy)


def test_damaged_seal_is_refused(copy: Path) -> None:
    (copy / "SHA256SUMS").write_text("nonsense")
    with pytest.raises(BundleError, match="SHA256SUMS is damaged"):
        Bundle.open(copy)


def test_found_by_name_in_the_environment(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("M3SEARCH_MODELS", str(tiny_bundle.parent))
    assert find_bundle("tiny") == tiny_bundle
    assert find_bundle(tiny_bundle) == tiny_bundle
    found = list_bundles()[0]
    assert (found.name, found.origin, found.problem) == ("tiny", "environment", "")


def test_broken_bundle_is_listed_with_its_problem(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "xray.onnx").unlink()
    monkeypatch.setenv("M3SEARCH_MODELS", str(copy.parent))
    assert "xray.onnx is missing" in next(found.problem for found in list_bundles() if found.name == "tiny")


def test_unknown_name_lists_the_known_ones(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3SEARCH_MODELS", str(tiny_bundle.parent))
    with pytest.raises(BundleError, match=r"no model 'no-such-model'; found here: .*tiny"):
        find_bundle("no-such-model")
    with pytest.raises(BundleError, match="no bundle at"):
        find_bundle("no/such/folder")


def test_input_description_round_trips() -> None:
    spec = InputSpec("image", size=256, windows=((40.0, 400.0), (-600.0, 1500.0)), max_parts=9, tile_mpp=0.5)
    assert parse_input(json.loads(json.dumps(describe_input(spec)))) == spec
    with pytest.raises(ValueError, match="colour"):
        parse_input({"kind": "image", "colour": "grey"})
