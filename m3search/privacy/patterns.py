"""What looks like an identifier in a report, wherever it stands. One line per way of writing it.

What a pattern's group `kept` matches stays: the label before an identifier says what was removed.
"""

from __future__ import annotations

import re

UID = re.compile(r"(?<![\d.])\d+(?:\.\d+){5,}(?![\d.]*\d)")  # as DICOM writes them (PS3.5 9), of 6 parts and more

_ONE = r"[A-Z][\w'’-]+"  # a word that begins like a name
_NAME = rf"{_ONE}(?:[ \t]*,[ \t]*{_ONE})?(?:[ \t]+(?:[A-Z]\b\.?|van|von|de|der|den|la|el|al|bin|{_ONE})){{0,3}}"
_NO_NAME = r"(?!(?:Male|Female|Man|Woman|Unknown|None|Anonym\w*|Normal|No|Not|The|A|An)\b)"
_TITLE = r"(?:(?:Dr|Prof|Mr|Mrs|Ms|Doctor|Professor|Nurse|Herr|Frau)\b\.?|(?:DR|PROF|MRS?)\.)"
_ROLE = (
    r"(?:(?:referring|requesting|performing|reporting|attending|reading|consulting|treating)\s+)?"
    r"(?:physician|doctor|clinician|radiologist|cardiologist|pathologist)|consultant|operator|technologist|technician|"
    r"radiographer|sonographer|next\s+of\s+kin|contact|"
    r"(?:referred|reported|dictated|signed|verified|approved|reviewed|transcribed|requested|performed|authori[sz]ed|read|"
    r"interpreted)\s+by|"
    r"(?:(?:patient(?:'s)?|full|family|first|last|given|mother's)\s+|sur)?name"
)
_LABEL = (
    r"mrn|pid|ssn|nhs(?:\s+(?:no|number))?|social\s+security(?:\s+(?:no|number))?|passport(?:\s+(?:no|number))?|"
    r"accession(?:\s+(?:no|number))?|acc\s+no|study\s+id|patient\s*(?:id|no|number|identifier)|"
    r"(?:hospital|admission|insurance)\s+(?:id|no|number)|(?:case|order|visit|record|account)\s+(?:no|number)"
)
_PHONE = r"tel(?:ephone)?|phone|fax|mobile|cell(?:phone)?|pager|bleep|ext(?:ension)?"
_STREET = (
    "Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Boulevard|Blvd|Crescent|Square|Terrace|Way|Court|Gardens|Grove|Row|Hill|"
    "Place|Close|Straße|Strasse|Weg|Allee"
)
_POSTCODE = r"(?:,?\s+[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}\b)?"
_HOUSE = r"Hospitals?|Infirmary|Clinics?|Medical\s+Cent(?:er|re)|Klinikum"
_NO_UNIT = (  # what follows a measurement
    r"(?!\s*(?:[/×%^]|x\s?10|copies|cells|platelets|µ|u?mol|iu\b|u\b|[nµpmk]?g\b|[mµ]?l\b|mm|cm|hz|ms\b|bp\b))"
)

PATTERNS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("site or e-mail", r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+|\b(?:https?://|www\.)[^\s<>\"']+"),
        ("UID", UID.pattern),
        (
            "date of birth",
            r"(?i)(?P<kept>\b(?:dob|date\s+of\s+birth|birth\s?date|born(?:\s+on)?)\W{0,3})(?:18|19|20)\d\d\b",
        ),
        ("address", r"(?i)(?P<kept>\baddress\s*[:=]\s*)[^;\n]+?(?=[;\n]|\.\s|\.?$)"),
        ("address", rf"\b\d{{1,5}}[A-Za-z]?\s+(?:{_ONE}\s+){{1,3}}(?:{_STREET})\b\.?{_POSTCODE}"),
        ("number", rf"(?i)(?P<kept>\b(?:{_LABEL})\s*[.:#=]*\s*)(?=[\w-]*\d)[\w-]{{3,}}(?:/\w+)*"),
        ("phone", rf"(?i)(?P<kept>\b(?:{_PHONE})\b\.?\s*(?:no\.?|number)?\s*[:.=]?\s*)\+?[\d(][\d\s()./-]{{3,}}\d"),
        ("phone", r"(?<![\w.])\+\d[\d\s()./-]{6,}\d\b"),
        ("phone", r"(?<![\w.(-])(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w.-])"),
        ("number", r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
        ("name", rf"(?P<kept>\b(?i:{_ROLE})\s*[:=]\s*(?:{_TITLE}\s*)*){_NO_NAME}{_NAME}"),
        ("name", rf"(?P<kept>\b[Pp]atient\s*[:=]\s*){_NO_NAME}{_ONE}[\s,]+{_ONE}"),
        ("name", rf"(?P<kept>\b{_TITLE}(?:\s+(?:med|Dr|Prof)\b\.?)*\s+){_NAME}"),
        ("institution", rf"\b(?:{_ONE}\s+(?:(?:of|and|for|the)\s+)?){{1,4}}(?:{_HOUSE})\b"),
        ("number", rf"(?<![\w.,+-])(?:[A-Za-z]{{1,5}}-?\d{{5,}}[A-Za-z]?|\d{{6,}})(?:-\d+)?(?![\d.]*\d|\w){_NO_UNIT}"),
    )
)

OLDEST = 90  # ages from here on are one: few people are that old
AGES = (
    re.compile(r"(?i)(?<![\d.,/-])(?:9\d|1[0-2]\d)(?=(?:\s*|-)(?:years?|yrs?|y/?o|y\.o)\b)"),
    re.compile(r"(?i)(?P<kept>\baged?\s*(?:of|:|=)?\s*)(?:9\d|1[0-2]\d)(?![\d.,/%+-])"),
)
