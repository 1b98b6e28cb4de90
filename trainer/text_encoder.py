"""Text encoders while they learn: what is computed once for each text, and the part that learns."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from m3search.encoders.base import normalise
from m3search.encoders.towers import TextConfig, TextTower
from m3search.errors import TrainingError
from m3search.trainer.device import device_of
from m3search.trainer.starts import WARM_STARTS, minilm_folder, warm_text_tower

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig
    from m3search.trainer.openclip import OpenClip
    from m3search.types import Float32

CHUNK = 32  # texts that go through the learning layers together
# Of a batch for the frozen layers: so many texts (a GPU takes as long for one as for all), and lengths that are
# multiples of so many tokens.
ROWS, ROWS_ON_GPU, ROUND = 4, 32, 4


class FrozenText:
    """What the frozen lower layers and the untouched encoder say about each text, computed once per text.

    Returned as the hidden states from which the learning layers go on, the mask, and the sentence embedding of the
    warm start, from which the text tower must not stray.
    """

    def __init__(self, config: TrainConfig) -> None:
        from tokenizers import Tokenizer

        self.device = device_of(config.run)
        self.rows = ROWS if self.device.type == "cpu" else ROWS_ON_GPU
        self.tower = warm_text_tower(config.dim, config.text.layers).eval().requires_grad_(False).to(self.device)
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

    def _learn(self, texts: Sequence[str]) -> None:
        """Batches of a few shapes only: a text's last digits must not depend on the others, of which a resumed run
        asks in other company."""
        by_length: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
        for text, encoded in zip(texts, self.tokenizer.encode_batch(list(texts)), strict=True):
            ids = encoded.ids[: sum(encoded.attention_mask)]
            by_length[-(-len(ids) // ROUND) * ROUND].append((text, ids))
        for length, group in by_length.items():
            for start in range(0, len(group), self.rows):
                self._learn_batch(group[start : start + self.rows], length)

    @torch.no_grad()
    def _learn_batch(self, group: Sequence[tuple[str, list[int]]], length: int) -> None:
        ids, mask = torch.zeros(2, self.rows, length, dtype=torch.int64)
        mask[:, 0] = 1  # rows that stay empty
        for row, (_, own) in enumerate(group):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        bias = (1.0 - mask[:, None, None, :].float()) * -1e4
        lower = x = self.tower.embed(ids)
        for depth, layer in enumerate(self.tower.layers, start=1):
            x = layer(x, bias)
            if depth == self.lower:
                lower = x
        sentences = TextTower.pool(x, mask)
        for row, (text, own) in enumerate(group):
            self._known[text] = lower[row, : len(own)].half(), sentences[row]

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """States float32 (B, L, W), mask int64 (B, L), sentences of the warm start (B, W); on `device`."""
        self._learn([text for text in dict.fromkeys(texts) if text not in self._known])
        known = [self._known[text] for text in texts]
        states = pad_sequence([states.float() for states, _ in known], batch_first=True)
        ones = [torch.ones(len(states), dtype=torch.int64, device=self.device) for states, _ in known]
        mask = pad_sequence(ones, batch_first=True)
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


class TextEncoder(nn.Module):
    """Anything that makes embeddings of texts, by a last linear layer `head`."""

    head: nn.Linear

    def embed(self, frozen: FrozenText, texts: Sequence[str]) -> TextVectors:
        """On the encoder's own device."""
        raise NotImplementedError


class UpperText(TextEncoder):
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

    def embed(self, frozen: FrozenText, texts: Sequence[str]) -> TextVectors:
        """Texts of like length go through the layers together, so that little of the work is padding."""
        device = self.head.weight.device
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        back = torch.tensor(order).argsort().to(device)
        parts = []
        for start in range(0, len(order), CHUNK):
            states, mask, before = frozen([texts[i] for i in order[start : start + CHUNK]])
            parts.append((*self(states.to(device), mask.to(device)), before.to(device)))
        embeddings, sentences, before = (torch.cat(column)[back] for column in zip(*parts, strict=True))
        return TextVectors(embeddings, sentences, before)

    def whole(self, frozen: FrozenText) -> TextTower:
        """The complete text tower, with the frozen layers below: what is exported."""
        tower = TextTower(self.head.out_features, TextConfig(layers=frozen.lower + len(self.layers)))
        tower.load_state_dict(frozen.tower.state_dict(), strict=False)
        tower.layers[frozen.lower :].load_state_dict(self.layers.state_dict())
        tower.head.load_state_dict(self.head.state_dict())
        return tower.eval()


class OpenClipEncoder(TextEncoder):
    """The text tower of an open_clip model, with a head into the shared space. Nothing of it is computed beforehand."""

    def __init__(self, start: OpenClip, head: nn.Linear) -> None:
        super().__init__()
        self.trunk, self.head = start.text, head
        self._tokens = start.tokens
        self._untouched = [copy.deepcopy(start.text).eval().requires_grad_(False)]  # in a list: no part of the state

    def embed(self, frozen: FrozenText, texts: Sequence[str]) -> TextVectors:  # noqa: ARG002
        """Sentence embeddings are the tower's own output."""
        device = self.head.weight.device
        ids, mask = (tensor.to(device) for tensor in self._tokens(texts))
        sentences = self.trunk(ids, mask)
        with torch.no_grad():
            before = self._untouched[0].to(device)(ids, mask)
        return TextVectors(self.head(sentences), sentences, before)


@torch.no_grad()
def text_vectors(text: TextEncoder, frozen: FrozenText, texts: Sequence[str]) -> Float32:
    """(B, D) unit vectors, float32."""
    return normalise(text.embed(frozen, texts).embeddings.float().cpu().numpy())


def encoder(text: TextEncoder, frozen: FrozenText) -> Callable[[Sequence[str]], Float32]:
    """`text_vectors` of one encoder."""
    return partial(text_vectors, text, frozen)


def build_text(config: TrainConfig, seed: int = 0) -> UpperText:
    """The learning part of a text encoder, from its warm start with a new head, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UpperText(warm_text_tower(config.dim, config.text.layers), lower_layers(config))


def lower_layers(config: TrainConfig) -> int:
    """How many layers of the text encoder do not learn."""
    return len(config.text.layers) - config.text.trained_layers
