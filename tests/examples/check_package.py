#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_package.py LM GENERATE RUN TEXT - RUN/export against the run RUN: the tokens of fuzzed strings and of
a text, 200 greedy tokens of `lm sample` and of `generate`, and their logits; five prompts as text, one by one and in
one batch, which `generate` must answer as the transformers package does."""
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
PROMPTS = "It is a truth universally", "My dear Mr. Bennet", "Elizabeth was", "What is his name", "I do not"


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


def answer(model, auto, prompt, length):
    """The package's answer, which `generate` must give too, as ids and as text."""
    ids = auto(prompt)["input_ids"]
    assert ids == tokenizer.encode(prompt).ids
    with torch.no_grad():
        new = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False,
                             max_new_tokens=length, pad_token_id=0)[0, len(ids):].tolist()
    assert len(new) == length
    options = generate, "--model", folder, "--length", str(length)
    assert call(*options, "--tokens", " ".join(map(str, ids))).split() == [str(t) for t in new]
    decoded = auto.decode(new)
    assert decoded == tokenizer.decode(new) and call(*options, "--prompt", prompt) == decoded + "\n"
    return decoded


def check_model():
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = text[1000:1030]
    decoded = answer(model, auto, prompt, 200)
    written = call(lm, "sample", "--model", model_path, "--prompt", prompt, "--temperature", "0", "--tokens", "200")
    assert "\ufffd" in decoded or written == prompt + decoded + "\n", written
    answers = [answer(model, auto, prompt, 60).replace("\n", "\\n") for prompt in PROMPTS]
    batch = call(generate, "--model", folder, "--length", "60", "--text", text="\n".join(PROMPTS) + "\n")
    assert batch == "\n".join(answers) + "\n", (batch, answers)
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(text[1000:1100]).ids])).logits[0].double()
    ours = call(lm, "inspect", "--model", model_path, "--logits", "--prompt", text[1000:1100])
    ours = torch.tensor([[float(x) for x in row.split()] for row in ours.splitlines()], dtype=torch.float64)
    difference = (ours - logits).abs().max().item()
    assert ours.shape == logits.shape and difference < 1e-5, difference
    print(f"      package: {type(model).__name__}, {len(tokenizer.get_vocab())} tokens: 5 prompts answered alike, "
          f"logits within {difference:.1e}")


check_tokens()
check_model()
