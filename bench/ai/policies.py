"""The policies that are measured. All look at what is asked and at what is answered."""

from __future__ import annotations

from itertools import islice, product
from typing import Any

_WORDS = 1000
_SYLLABLES = ("ka", "mo", "ri", "tel", "sun", "dor", "vex", "qui", "bal", "nef", "zor", "pim")
_LANES = ["prompt", "answer"]
_PERSONAL = ["email", "card", "iban", "ssn", "phone"]

_words = ["bananas", *("".join(parts) for parts in islice(product(_SYLLABLES, repeat=3), _WORDS - 1))]

POLICIES: dict[str, dict[str, Any]] = {
    "no rule": {"version": 1},
    "1,000 words": {"version": 1, "rules": [{"kind": "words", "name": "banned", "words": _words, "lanes": _LANES}]},
    "PII masks": {
        "version": 1,
        "rules": [{"kind": "detect", "name": "personal", "detectors": _PERSONAL, "lanes": _LANES}],
    },
}

ENDINGS = {
    "direct": " write to ada@example.org about bananas",
    "no rule": " write to ada@example.org about bananas",
    "1,000 words": " write to ada@example.org about ***",
    "PII masks": " write to [email] about bananas",
    "litellm": " write to ada@example.org about bananas",
}
"""How a stream ends for each candidate: a figure counts only if the policy did what it is for."""
