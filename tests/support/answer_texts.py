"""Texts that answer scores get wrong easily, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = ["a", "an", "the", "A", "The", "THE", "yes", "No", "no-answer", "New", "york", "York,", "U.S.", "x", "19", "is"]
PUNCTUATION = [".", ",", "-", "_", "'", "!", "~", "@", "’", "“", "”", "–", "…", "¿", "。", "×", "÷"]
SPACES = [" ", "  ", "\t", "\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\u2003", "\u2028"]
SPACES += ["\u2029", "\u202f", "\u3000"]
INVISIBLE = ["\x00", "\x7f", "\xad", "\u200b", "\u200d", "\u2060", "\ufeff", "\u0301", "\u0307", "\u0345", "\u20dd"]
LETTERS = [
    "İ",
    "I",
    "ı",
    "ß",
    "ẞ",
    "é",
    "É",
    "ÿ",
    "Ÿ",
    "ŉ",
    "ǅ",
    "ɏ",
    "ɐ",
    "Σ",
    "ς",
    "ΟΔΟΣ",
    "Ж",
    "中",
    "ａ",
    "ﬁ",
    "𝐚",
    "ª",
]
DIGITS = ["０", "１", "٣", "²", "½", "Ⅳ", "①"]

adversarial = st.lists(
    st.sampled_from(WORDS + PUNCTUATION + SPACES + SPACES + INVISIBLE + LETTERS + DIGITS), max_size=10
).map("".join)
spaced_words = st.lists(st.sampled_from([*WORDS, *LETTERS, "“a”", "…"]), max_size=8).map(" ".join)
answers = st.one_of(spaced_words, adversarial, st.text(max_size=20))
