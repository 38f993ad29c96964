#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_tokenizers.py FOLDER [COUNT [TOKENIZER.json...]] - writes tokenizers and what the tokenizers package makes of
COUNT fuzzed strings (2000) and of the bundled novel with each: FOLDER/NAME.json, and NAME.cases with lines of a text in
hexadecimal, its ids, and their text in hexadecimal; a text of "-" stands for ids that were drawn. FOLDER/names has the
names. Without TOKENIZER.json: one of every kind, learned from the novel; with COUNT 40 they are the test's fixtures.
"""
import json
import pathlib
import random
import sys
import warnings

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

NOVEL = pathlib.Path("examples/data/pride_and_prejudice.txt").read_text(encoding="utf-8")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace("{1,3}", "")
MARKS = "▁ĠĊéß中文字дж'’.,!?0123²½ⅷ"\
    "\u0301\u0327\u00a0\u2028\u3000\u200b\ufffd\x00\x01\x7f\x85\xad\u0130ſΣ각ᄀ ᅡ각Åﬁ💡👩‍👩‍👧🏽<s></s>"


def trained(model, pre, normalizer=None, size=600, special=(), alphabet=None, **trainer):
    tokenizer = Tokenizer(model)
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    kind = trainers.WordPieceTrainer if isinstance(model, models.WordPiece) else trainers.BpeTrainer
    tokenizer.train_from_iterator(NOVEL.split("\n"), kind(vocab_size=size, special_tokens=list(special),
                                                          initial_alphabet=alphabet or [], show_progress=False,
                                                          **trainer))
    return tokenizer


def with_ids(tokenizer, content, **how):
    tokenizer.add_special_tokens([AddedToken(content, **how)])
    return tokenizer


def gpt2(size, prefix=False):
    t = trained(models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=prefix), size=size,
                alphabet=pre_tokenizers.ByteLevel.alphabet(), special=["<|endoftext|>"])
    t.post_processor, t.decoder = processors.ByteLevel(trim_offsets=False), decoders.ByteLevel()
    t.add_tokens([AddedToken(" word!", normalized=True), AddedToken("<x>", lstrip=True, rstrip=True),
                  AddedToken("<x>y")])
    return t


def llama(size, metaspace, fuse=True):
    pre = pre_tokenizers.Metaspace(prepend_scheme="always") if metaspace else None
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    learned = trained(models.BPE(unk_token="<unk>"), pre_tokenizers.Metaspace(prepend_scheme="always"), size=size,
                      special=special)
    data = json.loads(learned.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in data["merges"]]
    t = Tokenizer(models.BPE(vocab=data["vocab"], merges=merges, unk_token="<unk>", fuse_unk=fuse, byte_fallback=fuse))
    if metaspace:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)]) if fuse else decoders.Metaspace()
    else:
        t.normalizer = normalizer
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    for name in ("<unk>", "<s>", "</s>"):
        t.add_special_tokens([AddedToken(name, normalized=False)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                     special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t


def tiktoken(size, pattern, nfc, ignore_merges):
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated", False),
                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    model = models.BPE(ignore_merges=ignore_merges)
    t = trained(model, split, normalizers.NFC() if nfc else None, size=size,
                alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(name, normalized=False) for name in ("<|begin_of_text|>", "<|im_end|>")])
    begin = t.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="$A $B",
                                             special_tokens=[("<|begin_of_text|>", begin)])
    t.post_processor = processors.ByteLevel(trim_offsets=False) if nfc else \
        processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return t


def digits(size):
    split = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                     pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t = trained(models.BPE(), split, size=size, alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.decoder = decoders.ByteLevel()
    return t


def bert(size, lowercase, **how):
    t = trained(models.WordPiece(unk_token="[UNK]", **how), pre_tokenizers.BertPreTokenizer(),
                normalizers.BertNormalizer(lowercase=lowercase), size=size,
                special=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    cls, sep = (t.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
                                                     special_tokens=[("[CLS]", cls), ("[SEP]", sep)]) \
        if lowercase else processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return t


def kinds(size):
    yield "gpt2", gpt2(size)
    yield "gpt2-prefix", gpt2(size, prefix=True)
    yield "digits", digits(size)
    yield "llama", llama(size, False)
    yield "metaspace", llama(size, True)
    yield "unknown", llama(size, True, fuse=False)
    yield "llama3", tiktoken(size, LLAMA3, False, True)
    yield "qwen", tiktoken(size, QWEN, True, False)
    yield "bert", bert(size, True)
    yield "bert-cased", bert(size, False, max_input_chars_per_word=9)


def strings(tokenizer, count, rng):
    """Characters of all planes, of Latin, marks and blanks, words of the novel, tokens of the vocabulary."""
    words = NOVEL.split(" ")
    tokens = list(tokenizer.get_vocab())
    draws = [
        lambda: chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))),
        lambda: chr(rng.randrange(1, 0x3000)),
        lambda: chr(rng.randrange(32, 127)),
        lambda: rng.choice(MARKS),
        lambda: rng.choice(" \t\n\r\x0b\u00a0 "),
        lambda: rng.choice(("  ", "\n\n", "\r\n", " \n ", "12345", "'s", "'LL", "I'm", "don't", " ' ", "e\u0301")),
        lambda: rng.choice(words) + " ",
        lambda: rng.choice(tokens),
        lambda: rng.choice(("<|endoftext|>", " <x> ", "<s>", "</s>", "[MASK]", "<|im_end|>", " word!", "<0x41>")),
        lambda: chr(rng.choice((0x300, 0x323, 0x315, 0x334, 0x41, 0x61, 0x1100, 0x1161, 0x11A8, 0xAC00, 0x3A9))),
    ]
    plain = ("", "I'LL'S 12345 don't", "a  b\n\n c  ", "e\u0301\u0323 q\u0301\u0323 \u1e69 \uac01", "中文ab, Éa!",
             "b</s>c", "b  <x>  c<x>y", "<s>b<|im_end|> b", "caf\u00e9 \U0001f4a1\U0001f9d1",
             "\u0130ſK", "ab\u3000c\r\n d")
    yield from plain
    for _ in range(count - len(plain)):
        some = [rng.choice(draws) for _ in range(rng.randrange(1, 4))]
        yield "".join(rng.choice(some)() for _ in range(rng.randrange(1, 24)))


def write_cases(tokenizer, count, path, whole):
    rng = random.Random(26)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    size = max(tokenizer.get_vocab().values()) + 1
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}

    def written(ids):  # version 0.23 does not know a special token by its id when it is normalized to another text
        return tokenizer.decode([id for id in ids if id not in special])

    texts = list(strings(tokenizer, count, rng))
    if whole:
        texts += [NOVEL]
    with open(path, "w", encoding="ascii") as file:
        for text in texts:
            ids = tokenizer.encode(text).ids
            print(text.encode().hex(), " ".join(map(str, ids)), written(ids).encode().hex(), sep="|", file=file)
        for _ in range(count // 4):
            ids = [rng.randrange(size + 2) for _ in range(rng.randrange(1, 12))]
            print("-", " ".join(map(str, ids)), written(ids).encode().hex(), sep="|", file=file)


warnings.simplefilter("ignore")
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000
folder.mkdir(parents=True, exist_ok=True)
given = [(str(i) + "-" + pathlib.Path(f).parent.name, Tokenizer.from_file(f), f) for i, f in enumerate(sys.argv[3:])]
with open(folder / "names", "w", encoding="ascii") as names:
    for name, tokenizer, *source in given or kinds(600 if count > 100 else 330):
        if source:
            (folder / f"{name}.json").write_bytes(pathlib.Path(source[0]).read_bytes())
        else:
            tokenizer.save(str(folder / f"{name}.json"), pretty=False)
        write_cases(tokenizer, count, folder / f"{name}.cases", count > 100)
        print(name, file=names)
