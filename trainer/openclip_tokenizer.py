"""open_clip's tokenizers as one tokenizer.json, so that a query needs the `tokenizers` library alone.

open_clip cleans a text with ftfy before it cuts it into tokens. What of that matters for medical texts (curly quotes,
ligatures, HTML entities, control characters, white space) is done by the tokenizer.json too; broken encodings and
full-width letters are not mended. `check_tokens` compares both on texts of all kinds.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from m3search.errors import CheckpointError

Tokenize = Callable[[list[str]], Any]  # open_clip's: texts to int64 (B, context length)

# From here on each text is a trap that one tokenizer or another has fallen into.
CHECK_TEXTS = (
    "pleural effusion",
    "Chest X-ray: no acute cardiopulmonary abnormality.",
    "H&E-stained section, poorly differentiated adenocarcinoma (Gleason 4+3=7)",
    "12-lead ECG: ST-segment elevation >2 mm in V2–V4; QTc 480ms",
    "2.5 x 3.1 cm mass in the right upper lobe, SUVmax 11.2",
    "Sjögren's syndrome, Ménière’s disease and “ground-glass” opacities",
    "β-blocker, 5 µm sections, α-synuclein, T₂-weighted, ≥ 50 % stenosis, 37 °C",
    "patient's heart isn't enlarged; we've seen they'll improve, I'm sure, he'd agree",
    "  leading,   double   and trailing white space \t and\na new line  ",
    "UPPER CASE, CamelCase, under_score, hyphen-ated, sl/ash, brackets [a] {b} <c>",
    "ﬁbrosis and eﬀusion",
    "no&nbsp;effusion &amp; no pneumothorax &lt;24 h",
    "diabetische Retinopathie, rétinopathie diabétique, 糖尿病性视网膜病变, диабетическая ретинопатия",
    "COVID-19 (SARS-CoV-2) pneumonia?! 100% ... #1 @home ~5*6^2 = $180",
    "nodule \U0001fac1 seen",
    "",
    "a",
    "the lungs are clear without focal consolidation, effusion or pneumothorax " * 40,
)
LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ſt", "ﬆ": "st"}
ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&apos;": "'", "&nbsp;": " "}
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
UNKNOWN_SHARE = 0.5  # of a check text's tokens: more means a tokenizer without its vocabulary


def cleaning(kind: str) -> list[Any]:
    """Normalizers that do what open_clip's cleaning of that name does: "whitespace", "lower" or "canonicalize"."""
    steps: list[Any] = [normalizers.Replace(entity, plain) for entity, plain in ENTITIES.items()]
    steps += [normalizers.Replace(ligature, plain) for ligature, plain in LIGATURES.items()]
    steps += [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
        normalizers.Replace(Regex("[\x00-\x08\x0b\x0e-\x1a\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"), ""),
        normalizers.NFC(),
    ]
    if kind == "canonicalize":
        steps += [normalizers.Replace("_", " ")]
        steps += [normalizers.Replace(Regex("[" + "".join("\\" + c for c in string.punctuation) + "]"), "")]
    if kind in ("lower", "canonicalize"):
        steps.append(normalizers.Lowercase())
    return [*steps, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]


def portable_tokenizer(tokenizer: Any, clean: str | None, pad_id: int, length: int, fixed: bool) -> Tokenizer:
    """The same tokenizer in the `tokenizers` library, which truncates and pads as the text tower needs it.

    Args:
        tokenizer: open_clip's.
        clean: how it cleans, if its configuration says.
        pad_id: what the text tower takes for padding, where the tokenizer does not say.
        length: most tokens of a text.
        fixed: pad to `length` always, not to the longest text of a batch.

    Raises:
        CheckpointError: a tokenizer of a kind that is not known here.
    """
    kind = type(tokenizer).__name__
    if kind == "SimpleTokenizer" and tokenizer.reduction_fn is None:
        portable = _clip_bpe(tokenizer, clean or "lower")
    elif kind == "HFTokenizer" and not tokenizer.tokenizer_mode and not tokenizer.strip_sep_token:
        portable = Tokenizer.from_str(tokenizer.tokenizer.backend_tokenizer.to_str())
        own = [portable.normalizer] if portable.normalizer else []
        portable.normalizer = normalizers.Sequence([*cleaning(clean or "whitespace"), *own])
        if tokenizer.tokenizer.pad_token_id is None:
            tokenizer.tokenizer.pad_token = portable.id_to_token(pad_id)
        pad_id = tokenizer.tokenizer.pad_token_id
    else:
        raise CheckpointError(
            f"texts of this model are cut by open_clip's {kind} with options (a reduction mask, a mode, stripped "
            "separators) that a tokenizer.json cannot express: it cannot be used here"
        )
    portable.enable_truncation(length)
    pad_token = portable.id_to_token(pad_id)
    if pad_token is None:
        raise CheckpointError(f"the text tower pads with token {pad_id}, which its tokenizer does not have")
    portable.enable_padding(pad_id=pad_id, pad_token=pad_token, length=length if fixed else None)
    return portable


def _clip_bpe(tokenizer: Any, clean: str) -> Tokenizer:
    """CLIP's byte-pair encoding: words end in "</w>", a text stands between its start and its end token."""
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    portable = Tokenizer(models.BPE(vocab=dict(tokenizer.encoder), merges=merges, end_of_word_suffix="</w>"))
    portable.normalizer = normalizers.Sequence(cleaning(clean))
    portable.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"(?i:{WORDS})"), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    portable.decoder = decoders.ByteLevel()
    special = [tokenizer.decoder[token] for token in tokenizer.all_special_ids]
    portable.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    start, end = special[:2]
    portable.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)],
    )
    return portable


def check_tokens(portable: Tokenizer, tokenize: Tokenize, rows: int, texts: Sequence[str] = CHECK_TEXTS) -> None:
    """Compare the portable tokenizer with open_clip's own, token by token.

    Args:
        rows: words that the text tower has vectors for.

    Raises:
        CheckpointError: they differ, or the tokenizer has lost its vocabulary.
    """
    size, padding = portable.get_vocab_size(), portable.padding or {}
    # Word embeddings are often padded to a round number of rows, never by more than this.
    if not rows - max(256, rows // 50) <= size <= rows:
        raise CheckpointError(
            f"the tokenizer has {size} tokens, the text tower knows {rows}: the tokenizer's files (tokenizer.json or "
            "vocab.txt, and tokenizer_config.json) are missing or belong to another model"
        )
    unknown = {portable.token_to_id(name) for name in ("[UNK]", "<unk>")} - {None}
    for text in texts:
        expected = [int(token) for token in tokenize([text])[0]]
        ids = portable.encode(text).ids
        if unknown and len(text) < 40 and text and sum(token in unknown for token in ids) > UNKNOWN_SHARE * len(ids):
            raise CheckpointError(f"the tokenizer does not know the words of {text!r}: its vocabulary is missing")
        if ids + [padding["pad_id"]] * (len(expected) - len(ids)) != expected:
            raise CheckpointError(
                f"the tokenizer.json made from this model cuts {text[:80]!r} into {ids[:12]}, open_clip itself into "
                f"{expected[:12]}: this model's tokenizer cannot be used here"
            )
