"""What is said about an item while training, and how far each text is true of each item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from m3search.trainer.absence import facts
from m3search.trainer.details import NO_DETAILS, Details, agreement, details_in
from m3search.vocabulary import (
    BARE_PAIRS,
    FINDINGS,
    GROUPS,
    PAIRS,
    denials_in,
    groups_of,
    inside,
    meaning,
    names_for,
    region_claimed,
    templates_for,
    words_for,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.datasets import Row
    from m3search.types import Float32
    from m3search.vocabulary.concepts import Kind

# How often each kind of text is drawn for an item: the source's own text, the sentence of its labels, one label's name
# (or everyday words for it), such words inside a phrase, the mere name of the examination, and what is not there.
KINDS = ("text", "caption", "label", "phrase", "examination", "negation")
ODDS = (0.22, 0.12, 0.29, 0.21, 0.06, 0.1)
OWN_NAME, OTHER_WORD = 0.5, 0.3  # a label by its own name, by another word of its own; else by a word of its groups

EXAMINATION_WEIGHT = 0.3  # "chest X-ray" is true of every chest X-ray, but says less of it than its findings
DENIAL_WEIGHT = 0.3  # as is "no pneumothorax" of most of them
UNKNOWN_ABSENCE = 0.5  # what "pneumonia without effusion" loses where nobody looked for an effusion

T = TypeVar("T")
_CUMULATIVE = np.array(list(accumulate(ODDS)))


@dataclass(frozen=True, slots=True)
class Text:
    """A text and what it claims."""

    words: str
    labels: frozenset[str] = frozenset()  # with `denied` empty too: claims the examination only
    modality: str = ""  # "" claims no modality
    either: bool = False  # True: any of the labels makes it true; False: the more of them, the truer
    denied: frozenset[str] = frozenset()  # any of these labels makes it false
    region: str = ""  # part of the body ("head" of "brain CT"); "" claims none
    details: Details = NO_DETAILS  # of the patient and the picture
    opposite: Text | None = field(default=None, compare=False)  # says the contrary in like words, where one can


def truth(row: Row, text: Text) -> float:
    """How far the text is true of the item, in [0, 1].

    A denied label that is there makes it 0. A text that only denies is true (DENIAL_WEIGHT) where the absence is known
    and else not known to be true (0); one that also claims keeps UNKNOWN_ABSENCE of its truth there. Wrong details
    ("PA" of an AP film) take a part of it.
    """
    known = facts(row)
    if text.modality not in ("", row.modality) or text.region not in ("", known.region):
        return 0.0
    if text.denied & known.labels:
        return 0.0
    fits = float(agreement([details_of(row)], [text.details])[0, 0])
    if not text.labels:
        return fits * (EXAMINATION_WEIGHT if not text.denied else DENIAL_WEIGHT * known.lacks(text.denied))
    shared = len(text.labels & known.labels)
    claimed = fits * (float(shared > 0) if text.either else shared / len(text.labels))
    return claimed if not text.denied or known.lacks(text.denied) else claimed * UNKNOWN_ABSENCE


def truths(rows: Sequence[Row], texts: Sequence[Text]) -> Float32:
    """(N, M) float32: `truth` of each text for each item."""
    if not rows or not texts:
        return np.zeros((len(rows), len(texts)), dtype=np.float32)
    known = [facts(row) for row in rows]
    claims, denials = [text.labels for text in texts], [text.denied for text in texts]
    counts, denies = (
        np.array([len(labels) for labels in claims]),
        np.array([bool(labels) for labels in denials]),
    )  # (M,)
    either = np.array([text.either for text in texts], dtype=bool)

    shared = _shared([fact.labels for fact in known], claims)  # (N, M), as all that follows
    sets = [fact.labels for fact in known] + [fact.doubtful for fact in known] + [fact.absent for fact in known]
    denied_are_there, doubtful, absent = (_shared(sets, denials) > 0).reshape(3, len(rows), len(texts))
    lacks = absent & ~denied_are_there & ~doubtful
    share = np.where(either, shared > 0, shared / np.maximum(counts, 1))
    claimed = share * np.where(lacks | ~denies, 1.0, UNKNOWN_ABSENCE)
    alone = np.where(denies, DENIAL_WEIGHT * lacks, EXAMINATION_WEIGHT)
    out = np.where(counts > 0, claimed, alone) * ~denied_are_there
    out *= _agree([row.modality for row in rows], [text.modality for text in texts])
    out *= _agree([fact.region for fact in known], [text.region for text in texts])
    out *= agreement([details_of(row) for row in rows], [text.details for text in texts])
    truths: Float32 = out.astype(np.float32)
    return truths


def _shared(of_items: Sequence[frozenset[str]], of_texts: Sequence[frozenset[str]]) -> Float32:
    """(N, M) float32: how many labels the set of an item and that of a text have in common.

    Sums of a few rows of a table, not a product of matrices: that would start threads, which wait for each other where
    the training keeps all cores busy.
    """
    common = frozenset[str]().union(*of_texts) & frozenset[str]().union(*of_items)
    columns = {label: i for i, label in enumerate(common, start=1)}  # their order does not matter to the sums
    table = np.zeros((len(columns) + 1, len(of_texts)), dtype=np.float32)  # its first row stays empty, for empty sets
    for j, labels in enumerate(of_texts):
        if own := labels & common:
            table[[columns[label] for label in own], j] = 1
    places = [[0, *map(columns.__getitem__, labels & common)] for labels in of_items]
    starts = np.cumsum([0, *map(len, places[:-1])])
    shared: Float32 = np.add.reduceat(table[[place for own in places for place in own]], starts, axis=0)
    return shared


def _agree(of_items: Sequence[str], of_texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(N, M) bool: the text says nothing of it, or the same."""
    codes = {name: i for i, name in enumerate({"": 0} | dict.fromkeys([*of_items, *of_texts]))}
    said = np.array([codes[name] for name in of_texts])[None, :]
    agree: npt.NDArray[np.bool_] = (said == 0) | (said == np.array([codes[name] for name in of_items])[:, None])
    return agree


def overlap(rows: Sequence[Row]) -> Float32:
    """(N, N) float32: Jaccard index of the labels, NaN between modalities."""
    sets = [frozenset(row.labels) for row in rows]
    shared, counts = _shared(sets, sets), np.array([len(labels) for labels in sets], dtype=np.float32)
    union = counts[:, None] + counts[None, :] - shared
    modalities = [row.modality for row in rows]
    return np.where(_agree(modalities, modalities), shared / np.maximum(union, 1), np.nan).astype(np.float32)


def deniable(labels: frozenset[str]) -> bool:
    """One can say "no" to it: all that it may mean is illness."""
    return all(label in FINDINGS and FINDINGS[label].kind == "abnormal" for label in labels)


def own_text(row: Row, words: str) -> Text:
    """The item's own text or caption: claims all its labels and details, and denies what it says is not there."""
    labels = frozenset(row.labels)
    denied = denials_in(words) - labels
    return Text(words, labels, row.modality, denied=denied, region=facts(row).region, details=details_in(words))


def details_of(row: Row) -> Details:
    """Of the item, as its caption tells them."""
    return details_in(row.caption)


class Phrasebook:
    """Draws a text for an item."""

    def __init__(self, rows: Iterable[Row], own_text: Mapping[str, float] | None = None) -> None:
        """`own_text`: by modality, how often an item is described by its own text or caption; 0, or none: by `ODDS`."""
        self._odds = {modality: _odds(share) for modality, share in (own_text or {}).items() if share}
        self._seen: dict[str, set[str]] = {}  # modality -> labels
        for row in rows:
            self._seen.setdefault(row.modality, set()).update(row.labels)
        self.labels = sorted(set().union(*self._seen.values()))
        self._deniable: dict[Row, tuple[list[str], list[str]]] = {}

    def draw(self, row: Row, rng: np.random.Generator) -> Text:
        """One text that is true of the item. What can be denied carries its `opposite`."""
        odds = self._odds.get(row.modality, _CUMULATIVE)
        kind = KINDS[min(int(np.searchsorted(odds, rng.random())), len(KINDS) - 1)]
        name = _pick(names_for(row.modality, row.caption), rng)
        examination = Text(name, modality=row.modality, region=region_claimed(row.modality, name))
        if kind == "negation":
            absent = self._absent(row, rng)
            if absent:
                return _deny(absent, row, examination, rng)
            kind = "label"
        if kind in ("text", "caption"):
            return own_text(row, row.text if kind == "text" else row.caption)
        if kind == "examination" or not row.labels:
            return examination
        label = _pick(row.labels, rng)
        word = _word(label, row, rng)
        return _bare(label, word, row.modality, rng) if kind == "label" else _phrase(label, word, examination, rng)

    def contrasts(self, texts: Sequence[Text]) -> list[Text]:
        """The opposites of those texts that have one, each once and none that is among the texts.

        They are more columns for a batch, mostly false ones: `truths` tells their truth as that of any other text.
        """
        said = {text.words for text in texts}
        opposites = {text.opposite.words: text.opposite for text in texts if text.opposite is not None}
        return [text for words, text in opposites.items() if words not in said]

    def _absent(self, row: Row, rng: np.random.Generator) -> str:
        """A label or the name of a group that the item is known to lack; "" where none is."""
        if row not in self._deniable:
            known = facts(row)
            labels = [
                label for label in known.absent if FINDINGS[label].kind == "abnormal" and known.lacks(meaning(label))
            ]
            seen = sorted(self._seen.get(row.modality, set()).intersection(labels))
            wider = (group for label in seen for group in groups_of(label, row.modality))
            names = {group.words[0] for group in wider if not group.opposite}
            groups = sorted(name for name in names if known.lacks(meaning(name)))
            self._deniable[row] = (seen or sorted(labels), groups)
        labels, groups = self._deniable[row]
        chosen = groups if groups and (not labels or rng.random() < 0.2) else labels
        return _pick(chosen, rng) if chosen else ""


def _odds(own_text: float) -> npt.NDArray[np.float64]:
    """Cumulative odds of `KINDS` with this share of own texts and captions, the others as they are to each other."""
    own = sum(ODDS[:2])
    shares = [odd * own_text / own for odd in ODDS[:2]] + [odd * (1 - own_text) / (1 - own) for odd in ODDS[2:]]
    return np.array(list(accumulate(shares)))


_GROUPS = {group.words[0]: group for group in GROUPS}
# Words of a group whose absence is a label of its own: "abnormal ECG" says that the label "normal ECG" is not there.
_EXCLUDED = {
    word: frozenset(group.opposite for group in GROUPS if word in group.words and group.opposite)
    for group in GROUPS
    if group.opposite
    for word in group.words
}


def _word(label: str, row: Row, rng: np.random.Generator) -> str:
    """The label's own name, other words for it, or a word of a group it belongs to."""
    lot = rng.random()
    if lot < OWN_NAME:
        return label
    # Sources do write "normal ECG" beside an atrial fibrillation; such an ECG is not called abnormal.
    groups = [group for group in groups_of(label, row.modality) if group.opposite not in row.labels]
    if lot < OWN_NAME + OTHER_WORD or not groups:
        return _pick(words_for(label), rng)
    # Of two the narrower: "colorectal cancer" tells more than "tumour".
    group = min(_pick(groups, rng), _pick(groups, rng), key=lambda one: len(meaning(one.words[0])))
    return group.words[0] if rng.random() < 0.5 else _pick(group.words, rng)


def _excluded(label: str, word: str, modality: str) -> str:
    """What a word for a label excludes, where it says that all is well or how a scan was taken; else ""."""
    if label not in FINDINGS or word in words_for(label):
        return FINDINGS[label].opposite if label in FINDINGS else ""
    return next((group.opposite for group in groups_of(label, modality) if word in group.words), "")


def _claim(word: str, examination: Text, words: str = "") -> Text:
    """`words`, or the word alone, that claims what the word means."""
    return replace(
        examination, words=words or word, labels=meaning(word), either=True, denied=_EXCLUDED.get(word, frozenset())
    )


def _bare(label: str, word: str, modality: str, rng: np.random.Generator) -> Text:
    """A word for a label, alone."""
    said = _claim(word, Text(""))
    if excluded := _excluded(label, word, modality):
        return replace(said, opposite=_claim(_other_word(excluded, rng), Text("")))
    if not deniable(said.labels):
        return said
    denied = _pair(BARE_PAIRS, rng)[1].format(label=inside(word))
    return replace(said, opposite=Text(denied, denied=said.labels))


def _phrase(label: str, word: str, examination: Text, rng: np.random.Generator) -> Text:
    """A word for a label, in a phrase with a name of the examination."""
    name, labels = examination.words, meaning(word)
    excluded = _excluded(label, word, examination.modality)
    if not excluded and deniable(labels):
        said, no = (template.format(name=name, label=inside(word)) for template in _pair(PAIRS, rng))
        return replace(_claim(word, examination, said), opposite=replace(examination, words=no, denied=labels))
    text = _claim(
        word, examination, _pick(templates_for(_kind(label), word), rng).format(name=name, label=inside(word))
    )
    if not excluded:
        return text
    contrary = _other_word(excluded, rng)
    template = _pick(templates_for(_kind(excluded), contrary), rng)
    return replace(text, opposite=_claim(contrary, examination, template.format(name=name, label=inside(contrary))))


def _kind(name: str) -> Kind:
    """Of a label; groups, and labels that nobody described, are taken for illness."""
    return FINDINGS[name].kind if name in FINDINGS else "abnormal"


def _deny(absent: str, row: Row, examination: Text, rng: np.random.Generator) -> Text:
    """A text that says what the item lacks: beside what it has, alone, or in a phrase."""
    word = _other_word(absent, rng)
    if not facts(row).lacks(meaning(word)):  # "collapsed lung" is a pneumothorax, but may be an atelectasis
        word = absent
    denied = meaning(word)
    own = [label for label in row.labels if deniable(meaning(label)) and denied.isdisjoint(meaning(label))]
    lot = rng.random()
    if lot < 0.3 and own:
        label = _pick(own, rng)
        other = _pick(words_for(label), rng)
        has = other if denied.isdisjoint(meaning(other)) else label
        opposite = replace(_claim(word, Text(""), f"{inside(word)} without {inside(has)}"), denied=meaning(has))
        return replace(_claim(has, Text(""), f"{inside(has)} without {inside(word)}"), denied=denied, opposite=opposite)
    frame, pairs = (Text(""), BARE_PAIRS) if lot < 0.65 else (examination, PAIRS)
    said, no = (template.format(name=examination.words, label=inside(word)) for template in _pair(pairs, rng))
    return replace(frame, words=no, denied=denied, opposite=_claim(word, frame, said))


def _other_word(name: str, rng: np.random.Generator) -> str:
    """Any word for a label or for the group of that name."""
    return _pick(_GROUPS[name].words if name in _GROUPS else words_for(name), rng)


def _pair(pairs: Sequence[tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    """A pair of templates; every third time the plainest, which is what people write."""
    return pairs[0] if rng.random() < 1 / 3 else _pick(pairs, rng)


def _pick(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
