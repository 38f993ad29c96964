#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_finetune.py FINETUNE GENERATE LOGITS TEXT FOLDER - models that the transformers package writes, in float32,
float16 and bfloat16, trained further by FINETUNE: the package reads them with the same names, values, loss, logits and
greedy tokens. Prints a line for each kind."""
import json
import pathlib
import re
import subprocess
import sys

import safetensors.torch
import tokenizers
import torch
import transformers
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen3Config

finetune, generate, logits, text, folder = sys.argv[1:]
VOCAB, CONTEXT = 300, 16
LLAMA = dict(vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64)
GPT2 = dict(vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=3, n_positions=64, bos_token_id=0, eos_token_id=0)
KINDS = {
    "gpt2, tied, float32": (GPT2Config(**GPT2), "float32"),
    "gpt2, own head, bfloat16": (GPT2Config(**GPT2, tie_word_embeddings=False), "bfloat16"),
    "llama, own head, float16": (LlamaConfig(**LLAMA), "float16"),
    "llama, tied, bfloat16": (LlamaConfig(**LLAMA, tie_word_embeddings=True), "bfloat16"),
    "mistral, float16": (MistralConfig(**LLAMA, sliding_window=7, head_dim=6), "float16"),
    "qwen3, tied, bfloat16": (Qwen3Config(**LLAMA, head_dim=8, tie_word_embeddings=True), "bfloat16"),
}


def make_tokenizer(path):
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train([text], tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB, show_progress=False, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    made.save(path)
    return made


def tune(begin, end, *options):
    done = subprocess.run([finetune, text, "--model", begin, "--out", end, "--context", str(CONTEXT), *options],
                          stderr=subprocess.PIPE, check=True)
    return [float(number) for number in re.search(r"validation loss ([0-9.]+) nats per token, ([0-9.]+)",
                                                  done.stderr.decode()).groups()]


def validation_loss(model, ids):
    """As finetune computes it: at most 64 windows of the last tenth, evenly spread."""
    first = len(ids) - len(ids) // 10
    count = (len(ids) - first - 1) // CONTEXT
    losses = []
    for window in range(0, count, max(1, count // 64)):
        tokens = torch.tensor([ids[first + window * CONTEXT:first + (window + 1) * CONTEXT + 1]])
        losses.append(torch.nn.functional.cross_entropy(model(tokens[:, :-1]).logits[0], tokens[0, 1:]).item())
    return sum(losses) / len(losses)


def output(*arguments):
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode()


def check(name, config, dtype):
    place = pathlib.Path(folder, re.sub("[^a-z0-9]+", "-", name))
    begin, same, end = (str(place / part) for part in ("begin", "same", "end"))
    torch.manual_seed(1)
    before = transformers.AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype))
    before.save_pretrained(begin)
    ids = make_tokenizer(f"{begin}/tokenizer.json").encode(pathlib.Path(text).read_text(encoding="utf-8")).ids
    old = safetensors.torch.load_file(f"{begin}/model.safetensors")
    assert next(iter(old.values())).dtype == getattr(torch, dtype)

    tune(begin, same, "--steps", "1", "--lr", "1e-30", "--weight-decay", "0")  # changes no value but 0
    kept = safetensors.torch.load_file(f"{same}/model.safetensors")
    assert kept.keys() == old.keys(), kept.keys() ^ old.keys()
    assert all(kept[key].dtype == torch.float32 for key in old)
    assert all((kept[key] - old[key].float()).abs().max() < 1e-25 for key in old)

    after_loss, before_loss = tune(begin, end, "--steps", "40", "--lr", "3e-3")
    assert json.load(open(f"{end}/config.json")).get("dtype", "float32") == "float32"
    with torch.no_grad():
        read = transformers.AutoModelForCausalLM.from_pretrained(end, attn_implementation="eager").eval()
        assert next(read.parameters()).dtype == torch.float32
        loss = validation_loss(read, ids)
        prompt, line = ids[1000:1010], ids[2000:2000 + 3 * CONTEXT]
        theirs = read(torch.tensor([line])).logits.flatten()
        out = read.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=30, pad_token_id=0,
                            eos_token_id=None)[0].tolist()
        first = validation_loss(before.float().eval(), ids)
    assert abs(loss - after_loss) < 1e-4 and abs(first - before_loss) < 1e-4, (loss, after_loss, first, before_loss)
    assert after_loss < before_loss - 0.3
    written = output(generate, "--model", end, "--tokens", " ".join(map(str, prompt)), "--length", "30", "--past-end")
    assert [int(word) for word in written.split()] == out[len(prompt):]
    printed = output(logits, "gpt", "float32", " ".join(map(str, line)), end)
    ours = torch.tensor([float(word) for word in printed.split()])
    difference = (ours - theirs).abs().max().item()
    assert ours.shape == theirs.shape and difference < 1e-5, difference
    print(f"{name}: names, values, loss {loss:.4f}, tokens of transformers, logits within {difference:.1e}")


for kind, (kind_config, kind_dtype) in KINDS.items():
    check(kind, kind_config, kind_dtype)
