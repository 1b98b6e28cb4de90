"""The two towers of an open_clip model as m3search wants towers: they scale their own input and take what bundles give.

The same modules are trained and exported. Radford et al., arXiv 2103.00020 (CLIP); Zhang et al., arXiv 2303.00915
(BiomedCLIP: a timm image tower beside a BERT text tower).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from m3search.errors import CheckpointError

POOLED_ANYWHERE = ("argmax", "eos", "first")  # where text is pooled before its padding


class OpenClipImage(nn.Module):
    """uint8 (B, 3, S, S) to embedding float32 (B, D), not normalised."""

    pixel_mean: Tensor  # (1, 3, 1, 1); a name that the exporter gives to no value of its own
    pixel_std: Tensor

    def __init__(self, visual: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """
        Args:
            visual: open_clip's image tower, whichever it is.
            mean, std: of its input, per channel, on a scale where white is 1.
        """
        super().__init__()
        self.visual = visual
        self.register_buffer("pixel_mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.visual((inputs.float() / 255.0 - self.pixel_mean) / self.pixel_std)
        return cast("Tensor", found[0] if isinstance(found, tuple) else found)  # some give their tokens too


class OpenClipText(nn.Module):
    """Token ids and mask, int64 (B, L), to embedding float32 (B, D), not normalised."""

    inputs: tuple[str, ...]  # what `forward` uses of "input_ids", "attention_mask"; the exported graph takes just these
    fixed_length: bool = False  # True where L must be the context length, since padding is not masked out
    context_length: int
    vocabulary: int  # rows of the word embedding
    pad_id: int

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class HuggingFaceText(OpenClipText):
    """A transformers encoder with open_clip's pooling and projection. Padding is masked, so L is free."""

    inputs = ("input_ids", "attention_mask")

    def __init__(self, text: Any) -> None:
        """
        Args:
            text: open_clip's `HFTextEncoder`.
        """
        super().__init__()
        self.transformer, self.pooler, self.proj = text.transformer, text.pooler, text.proj
        self.context_length, self.vocabulary = int(text.context_length) or 4096, int(text.vocab_size)
        self.pad_id = int(text.config.pad_token_id or 0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = (input_ids != self.pad_id).long() if attention_mask is None else attention_mask
        found = self.transformer(input_ids=input_ids, attention_mask=mask)
        return cast("Tensor", self.proj(self.pooler(found, mask)))


class ClipText(OpenClipText):
    """open_clip's own text transformer.

    CLIP pads to 77 tokens, but looks only backwards and pools at the end-of-text token, so what follows that token
    changes nothing: L is free then, and a short text costs a tenth. Towers that look both ways or pool at the last
    position (SigLIP) need their full length.
    """

    inputs = ("input_ids",)
    causal: Tensor | None  # (L, L), 0 or -inf; None: looks both ways

    def __init__(self, text: Any, pool: str, eos_id: int | None) -> None:
        """
        Args:
            text: what holds the layers: a `TextTransformer`, or a `CLIP`, which holds them itself.
            pool: which token stands for the text, in open_clip's words.
        """
        super().__init__()
        self.token_embedding, self.transformer = text.token_embedding, text.transformer
        self.positional_embedding, self.ln_final = text.positional_embedding, text.ln_final
        self.text_projection = text.text_projection
        self.pool, self.eos_id = pool, eos_id
        self.register_buffer("causal", text.attn_mask, persistent=False)
        self.context_length, self.vocabulary = (int(n) for n in (text.context_length, text.vocab_size))
        self.pad_id = int(getattr(text, "pad_id", 0))
        self.fixed_length = self.causal is None or pool not in POOLED_ANYWHERE

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        from open_clip.transformer import text_global_pool

        length = input_ids.shape[1]
        x = self.token_embedding(input_ids) + self.positional_embedding[:length]  # (B, L, W)
        x = self.transformer(x, attn_mask=None if self.causal is None else self.causal[:length, :length])
        x = text_global_pool(self.ln_final(x), input_ids, self.pool, eos_token_id=self.eos_id)  # (B, W)
        if self.text_projection is None:
            return cast("Tensor", x)
        if isinstance(self.text_projection, nn.Linear):
            return cast("Tensor", self.text_projection(x))
        return cast("Tensor", x @ self.text_projection)


def text_tower(model: Any) -> OpenClipText:
    """The text tower of an open_clip model.

    Raises:
        CheckpointError: it is of a kind that is not known here.
    """
    text = getattr(model, "text", model)
    kind = type(text).__name__
    if kind == "HFTextEncoder":
        return HuggingFaceText(text)
    if kind == "CLIP":
        return ClipText(model, model.text_pool_type, model.text_eos_id)
    if kind == "TextTransformer" and type(model).__name__ == "CustomTextCLIP" and text.cls_emb is None:
        return ClipText(text, text.pool_type, text.eos_id)
    raise CheckpointError(
        f"text towers of the kind {type(model).__name__}/{kind} cannot be used here; those of CLIP, SigLIP and Hugging "
        "Face can"
    )
