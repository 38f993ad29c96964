#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_package.py LM GENERATE RUN TEXT - RUN/export against the run RUN: the tokens of fuzzed strings and of
a text, 200 greedy tokens of `lm sample` and of `generate`, and their logits."""
import pathlib
import random
import subprocess
import sys

import torch
import transformers
from tokenizers import Tokenizer

lm, generate, run, text_path = sys.argv[1:]
model_path, folder = run, f"{run}/export"
text = pathlib.Path(text_path).read_text(encoding="utf-8")
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
characters = tokenizer.pre_tokenizer is None


def call(*arguments, text=""):
    done = subprocess.run(arguments, input=text.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode(errors="surrogateescape")


def check_tokens():
    random.seed(1)
    pool = "abc ABC 019 \t\r\x0b’'sdmtllreve—“”!?\x85\xa0éßжЖ中あ、。😀\u2028\u3000½²٣\U0010ffff\xbf\u1fff\u2070"
    pools = pool, " '’stred\ta1.", text.replace("\n", " "), [chr(c) for c in range(32, 0x3100)]
    lines = ["".join(random.choice(pools[i % 4]) for _ in range(random.randrange(1, 30))) for i in range(2000)]
    lines += [line for line in text.split("\n") if line]
    if characters:
        lines = ["".join(c for c in line if c in text) or "a" for line in lines]
    got = call(lm, "tokenize", "--model", model_path, "--lines", text="\n".join(lines) + "\n").splitlines()
    assert len(got) == len(lines)
    for line, ids in zip(lines, got):
        ids = [int(i) for i in ids.split()]
        assert tokenizer.encode(line).ids == ids, (line, ids)
        assert tokenizer.decode(ids) == line, line
    ids = call(lm, "tokenize", "--model", model_path, text=text)
    assert tokenizer.encode(text).ids == [int(i) for i in ids.split()]
    assert call(lm, "tokenize", "--model", model_path, "--decode", text=ids) == text


def check_model():
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = text[1000:1030]
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    assert auto(prompt)["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=200,
                             pad_token_id=0)[0].tolist()
        logits = model(torch.tensor([tokenizer.encode(text[1000:1100]).ids])).logits[0].double()
    new = out[ids.shape[1]:]
    assert len(new) == 200
    line = " ".join(map(str, ids[0].tolist()))
    assert call(generate, "--model", folder, "--length", "200", "--tokens", line).split() == [str(t) for t in new]
    written = call(lm, "sample", "--model", model_path, "--prompt", prompt, "--temperature", "0", "--tokens", "200")
    decoded = tokenizer.decode(new)
    assert call(generate, "--model", folder, "--length", "200", "--prompt", prompt) == decoded + "\n"
    assert "\ufffd" in decoded or written == prompt + decoded + "\n", written
    ours = call(lm, "inspect", "--model", model_path, "--logits", "--prompt", text[1000:1100])
    ours = torch.tensor([[float(x) for x in row.split()] for row in ours.splitlines()], dtype=torch.float64)
    difference = (ours - logits).abs().max().item()
    assert ours.shape == logits.shape and difference < 1e-5, difference
    print(f"      package: {type(model).__name__}: logits within {difference:.1e}")


check_tokens()
check_model()
