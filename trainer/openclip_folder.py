"""A folder with an open_clip model: its configuration, weights, tokenizer, and the text model's own configuration.

Everything is looked for here before open_clip is asked, whose own errors do not say what to do, and which may go to a
network for a part that lies beside the weights.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from m3search.errors import CheckpointError

CONFIG = "open_clip_config.json"
WEIGHTS = (  # the first of these is taken
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth", "open_clip_pytorch_model.pt", "model.safetensors", "pytorch_model.bin",
)  # fmt: skip
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
# (width, layers, feed-forward): attention heads of the published BERT sizes, which no weight tells.
BERT_HEADS = {(768, 12, 3072): 12, (1024, 24, 4096): 16}
POINTER = b"version https://git-lfs"


class Folder:
    """An open_clip model's files."""

    def __init__(self, path: Path, weights: Path | None = None) -> None:
        """
        Args:
            weights: the file to take; None looks for the usual names.

        Raises:
            CheckpointError: there is no such folder.
        """
        if not path.is_dir():
            raise CheckpointError(f"there is no folder {path}; give the one that holds {CONFIG}")
        self.path = path.resolve()
        self._given = weights

    def config(self) -> dict[str, Any]:
        """open_clip's "model_cfg".

        Raises:
            CheckpointError: the configuration is missing or not one of open_clip's.
        """
        file = self.path / CONFIG
        if not file.is_file():
            raise CheckpointError(
                f"{self.path} has no {CONFIG}: copy it from where the model was published, or give the weights as "
                "ARCHITECTURE@FILE"
            )
        try:
            config: dict[str, Any] = json.loads(file.read_bytes())["model_cfg"]
            missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{file} is not a configuration of open_clip: it has no model_cfg") from error
        if missing:
            raise CheckpointError(f"{file}: its model_cfg lacks {', '.join(sorted(missing))}")
        return config

    @cached_property
    def weights(self) -> Path:
        """The file of weights.

        Raises:
            CheckpointError: there is none, or it is only a pointer to one.
        """
        found = self._given or next((self.path / name for name in WEIGHTS if (self.path / name).is_file()), None)
        if found is None:
            raise CheckpointError(
                f"{self.path} has no weights ({WEIGHTS[0]}, {WEIGHTS[2]}, ...): copy them there, or give their file"
            )
        with found.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise CheckpointError(f'{found} is a Git LFS pointer, not the weights: run "git lfs pull" there')
        return found

    @contextmanager
    def text_settings(self, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """open_clip's "text_cfg", which for a Hugging Face text tower names a folder with that tower's config.json.

        open_clip asks the hub for it otherwise, even for a `local-dir:`. A folder that was made up lasts as long as the
        context.
        """
        text = dict(config["text_cfg"])
        if not (model := text.get("hf_model_name")):
            yield text
            return
        text["hf_model_pretrained"] = False
        with tempfile.TemporaryDirectory() as scratch:
            place = next(
                (p for p in (Path(str(model)), self.path / str(model), self.path) if _has_text_config(p)), None
            )
            if place is None and (guess := self._bert_config()):
                guess.save_pretrained(scratch)
                place = Path(scratch)
            if place is None:
                raise CheckpointError(
                    f"{self.path} lacks the config.json of its text model {model}: copy that file, and no other, from "
                    f"the repository of {model} into the folder"
                )
            yield {**text, "hf_model_name": str(place.resolve())}

    def _bert_config(self) -> Any:
        """The configuration of a text tower whose weights have the shapes of BERT base or large, else None.

        Published models (BiomedCLIP) leave it in another repository.
        """
        shapes = _shapes(self.weights)
        prefix, layer = "text.transformer.", "encoder.layer.0.intermediate.dense.weight"
        words = shapes.get(f"{prefix}embeddings.word_embeddings.weight")
        positions = shapes.get(f"{prefix}embeddings.position_embeddings.weight")
        kinds, feed_forward = (
            shapes.get(prefix + name, (0,)) for name in ("embeddings.token_type_embeddings.weight", layer)
        )
        if not words or not positions or kinds[0] != 2:  # RoBERTa, alike otherwise, has one kind of token
            return None
        layers = len({name.split(".")[4] for name in shapes if name.startswith(f"{prefix}encoder.layer.")})
        heads = BERT_HEADS.get((words[1], layers, feed_forward[0]))
        if heads is None:
            return None
        from transformers import BertConfig

        return BertConfig(
            vocab_size=words[0], hidden_size=words[1], num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=feed_forward[0], max_position_embeddings=positions[0],
        )  # fmt: skip

    def tokenizer(self, text: Mapping[str, Any]) -> Any:
        """open_clip's tokenizer for this model.

        Raises:
            CheckpointError: its files are missing or damaged.
        """
        import open_clip
        from open_clip.tokenizer import HFTokenizer

        named = text.get("hf_tokenizer_name")
        if not named:
            return open_clip.get_tokenizer(f"local-dir:{self.path}")
        places = (self.path, Path(str(named)), self.path / str(named))
        place = next((p for p in places if any((p / name).is_file() for name in TOKENIZERS)), None)
        if place is None:
            raise CheckpointError(f"{self.path} has no tokenizer: copy tokenizer.json and tokenizer_config.json there")
        length = {"context_length": text["context_length"]} if "context_length" in text else {}
        try:
            tokenizer = HFTokenizer(
                str(place), **length, tokenizer_mode=text.get("tokenizer_mode"), **(text.get("tokenizer_kwargs") or {})
            )
        except Exception as error:  # transformers and tokenizers each have their own kinds
            raise CheckpointError(
                f"the tokenizer in {place} cannot be read ({str(error).strip().splitlines()[0]}); copy tokenizer.json "
                "and tokenizer_config.json there again"
            ) from error
        return tokenizer

    def licence(self) -> str:
        """What the model card beside the weights states, "" where there is none."""
        return stated_licence(self.path / "README.md")


def fill(model: Any, weights: Path, described_by: str) -> None:
    """Weights of a file into an open_clip model, into every parameter of it.

    Raises:
        CheckpointError: the file is damaged, or belongs to another model.
    """
    from open_clip.factory import load_checkpoint

    try:
        load_checkpoint(model, str(weights), strict=True)
    except Exception as error:  # torch, pickle and safetensors each have their own kinds
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        raise CheckpointError(
            f"{weights} does not hold the model that {described_by} describes, or is damaged: "
            f"{' '.join(lines[:2])[:300]}"
        ) from error


def stated_licence(card: Path) -> str:
    """The licence field in the head of a hub's model card, "" where there is none."""
    if not card.is_file():
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL)
    fields = dict(re.findall(r"^(license(?:_name)?):[ \t]*(\S.*?)\s*$", head[1], flags=re.MULTILINE)) if head else {}
    licence = fields.get("license", "")
    return str(fields.get("license_name", licence)) if licence in ("", "other") else str(licence)


def _has_text_config(folder: Path) -> bool:
    """True where a folder has the configuration of a text model that open_clip can use."""
    from open_clip.hf_configs import arch_dict

    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in arch_dict


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors by name; {} where the file cannot be read, which loading it will tell."""
    import torch
    from safetensors import safe_open

    try:
        if weights.suffix == ".safetensors":
            with safe_open(weights, "pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        state = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
        state = state.get("state_dict", state)
        return {name.removeprefix("module."): tuple(tensor.shape) for name, tensor in state.items()}
    except Exception:
        return {}
