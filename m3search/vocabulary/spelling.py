"""British and American spelling of the words of medicine."""

from __future__ import annotations

import re

_PAIRS = {  # British: American
    "papilloedema": "papilledema", "haemorrhag": "hemorrhag", "haematoma": "hematoma", "haematoxylin": "hematoxylin",
    "oedema": "edema", "ischaemi": "ischemi", "hyperkalaemi": "hyperkalemi", "tumour": "tumor", "colour": "color",
    "fibre": "fiber", "vascularis": "vasculariz", "polaris": "polariz", "generalis": "generaliz",
    "keratinis": "keratiniz", "necrotis": "necrotiz", "oesophag": "esophag",
}  # fmt: skip
_BRITISH = {american: british for british, american in _PAIRS.items()}
# "colorectal" is no colour, and "oedema" holds "edema".
_FROM_BRITISH = re.compile("|".join(_PAIRS), re.IGNORECASE)
_FROM_AMERICAN = re.compile(
    "|".join(_BRITISH).replace("|edema", "|(?<!o)edema").replace("color", r"color(?!ect)"), re.I
)


def american(text: str) -> str:
    """The text in American spelling.

    >>> american("Tumour with haemorrhage and oedema")
    'Tumor with hemorrhage and edema'
    """
    return _FROM_BRITISH.sub(lambda found: _cased(_PAIRS[found[0].lower()], found[0]), text)


def british(text: str) -> str:
    """The text in British spelling.

    >>> british("Papilledema, colorectal tumor")
    'Papilloedema, colorectal tumour'
    """
    return _FROM_AMERICAN.sub(lambda found: _cased(_BRITISH[found[0].lower()], found[0]), text)


def _cased(word: str, like: str) -> str:
    return word.capitalize() if like[0].isupper() else word
