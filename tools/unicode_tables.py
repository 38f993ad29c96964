#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""unicode_tables.py - writes examples/shared/unicode.def: python3 tools/unicode_tables.py >examples/shared/unicode.def

The classes and lower case are what the installed tokenizers package takes them for, as its ids are to be the same: its
letters and numbers are of a newer Unicode than BERT's marks, punctuation and controls. The decompositions are those of
unicodedata which the package makes too.
"""
import importlib.metadata
import unicodedata as unicode

from tokenizers import Regex, normalizers, pre_tokenizers

LETTER, NUMBER, MARK, PUNCTUATION, CONTROL = 1, 2, 4, 8, 16
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def bert(**only):
    rules = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return normalizers.BertNormalizer(**{**rules, **only})


def flags(code):
    character = chr(code)
    value = (LETTER if LETTERS.normalize_str(character) == "" else 0) | \
        (NUMBER if NUMBERS.normalize_str(character) == "" else 0)
    if STRIPPED.normalize_str(character) == "":
        value |= MARK
    if code not in (0, 0xFFFD) and CLEANED.normalize_str(character) == "":
        value |= CONTROL
    if not character.isspace() and len(SPLIT.pre_tokenize_str("a" + character)) == 2:
        value |= PUNCTUATION
    return value


def rows(values):
    """[first, last, value] of neighbours with the same value; those of 0 are left out."""
    out = []
    for code, value in values:
        if value == 0:
            continue
        if out and out[-1][1] == code - 1 and out[-1][2] == value:
            out[-1][1] = code
        else:
            out.append([code, code, value])
    return out


def lower_rows():
    """[first, last, step, difference]; a character whose lower case is two characters is left out."""
    out = []
    for code in CODES:
        lower = LOWERED.normalize_str(chr(code))
        if lower == chr(code) or len(lower) != 1:
            continue
        difference = ord(lower) - code
        if out and out[-1][3] == difference and code - out[-1][1] in (1, 2) and \
                (out[-1][0] == out[-1][1] or out[-1][2] == code - out[-1][1]):
            out[-1][2] = code - out[-1][1]
            out[-1][1] = code
        else:
            out.append([code, code, 1, difference])
    return out


def decompositions():
    """[code, first, second or 0, whether the two are composed again]."""
    out = []
    for code in CODES:
        parts = unicode.decomposition(chr(code))
        if parts == "" or parts[0] == "<" or 0xAC00 <= code < 0xD7A4 or NFD.normalize_str(chr(code)) == chr(code):
            continue
        part = [int(p, 16) for p in parts.split()] + [0]
        composed = NFC.normalize_str("".join(chr(p) for p in part if p)) == chr(code)
        out.append([code, part[0], part[1], int(composed)])
    return out


def combining(code):
    value = unicode.combining(chr(code))
    if value == 0:
        return 0
    pair = chr(code) + "\u0334" if value > 1 else "\u0301" + chr(code)
    return value if NFD.normalize_str(pair) != pair else 0


def put(name, table, comment):
    print(f"\n/* {comment} */\n#ifdef {name}")
    line = ""
    for row in table:
        word = f"{name}({', '.join(hex(v) if i < 2 or abs(v) > 255 else str(v) for i, v in enumerate(row))})"
        if len(line) + len(word) + 1 > 118:
            print(line)
            line = ""
        line += (" " if line else "") + word
    print(f"{line}\n#endif")


CLEANED, STRIPPED, LOWERED = bert(clean_text=True), bert(strip_accents=True), bert(lowercase=True)
LETTERS, NUMBERS = (normalizers.Replace(Regex(pattern), "") for pattern in (r"\p{L}", r"\p{N}"))
SPLIT, NFC, NFD = pre_tokenizers.BertPreTokenizer(), normalizers.NFC(), normalizers.NFD()
print(f"""/* SPDX-License-Identifier: MIT
 *
 * unicode.def - made by tools/unicode_tables.py with tokenizers {importlib.metadata.version("tokenizers")} and \
Unicode {unicode.unidata_version}.
 */""")
put("CLASS", rows((code, flags(code)) for code in CODES),
    "first, last, sum of: 1 letter, 2 number, 4 BERT's marks, 8 its punctuation, 16 its controls")
put("LOWER", lower_rows(), "first, last, step, what is added for the lower case")
put("DECOMPOSED", decompositions(), "a character, its canonical decomposition, whether that is composed again")
put("COMBINING", rows((code, combining(code)) for code in CODES), "first, last, combining class")
