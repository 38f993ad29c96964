# SPDX-License-Identifier: MIT
"""pretrained.py - models of the transformers package at random sizes, saved and loaded by attngrad: the kind
`pretrained` of kinds.py. Values only; the package computes norms and rotary positions in float32.
"""
import atexit
import json
import pathlib
import shutil
import tempfile

import torch
import transformers

import references as ref
from bounds import Torch
from kinds import Case, base, some

transformers.logging.set_verbosity(transformers.logging.CRITICAL)
transformers.utils.logging.disable_progress_bar()

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="attngrad-differential-"))  # the last case's files
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FAMILIES = {
    "gpt2": (transformers.GPT2LMHeadModel, transformers.GPT2Config),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
    "mistral": (transformers.MistralForCausalLM, transformers.MistralConfig),
    "bert": (transformers.BertModel, transformers.BertConfig),
}


def settings(s):
    """The configuration, in the package's words."""
    emb = s["heads"] * s["head_size"]
    if s["family"] == "gpt2":
        return dict(vocab_size=s["V"], n_positions=16, n_embd=emb, n_layer=s["layers"], n_head=s["heads"],
                    n_inner=s["ff"], layer_norm_epsilon=s["eps"])
    if s["family"] == "bert":
        return dict(vocab_size=s["V"], hidden_size=emb, num_hidden_layers=s["layers"], num_attention_heads=s["heads"],
                    intermediate_size=s["ff"], max_position_embeddings=16, layer_norm_eps=s["eps"])
    return dict(vocab_size=s["V"], hidden_size=s["emb"], intermediate_size=s["ff"], num_hidden_layers=s["layers"],
                num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"], head_dim=s["head_size"],
                max_position_embeddings=40, rms_norm_eps=s["eps"], tie_word_embeddings=not s["untied_head"],
                rope_parameters={"rope_type": "default", "rope_theta": s["theta"]},
                **({"sliding_window": s["back"] or None} if s["family"] == "mistral" else {}))


def model_of(s):
    kind, config_class = FAMILIES[s["family"]]
    random = torch.Generator().manual_seed(s["seed"])
    model = kind(config_class(**settings(s)))
    for name, p in model.named_parameters():
        p.data = 0.1 + 0.5 * torch.randn(p.shape, generator=random)
    model.tie_weights()
    return model


class pretrained:
    deep = values_only = True
    share = 0.1  # files are written and read

    @staticmethod
    def draw(r):
        family, kv = r.choice(list(FAMILIES)), r.randint(1, 2)
        call = "pretrained_encoder" if family == "bert" else "pretrained_gpt"
        heads = kv * r.randint(1, 2)
        return base(r, call, family=family, V=r.randint(2, 30), layers=r.randint(1, 3), heads=heads, kv_heads=kv,
                    head_size=2 * r.randint(1, 4), emb=heads * r.randint(1, 4), ff=r.randint(1, 12),
                    eps=some(r, 1e-5, 1e-12, 0.1), theta=some(r, 10000.0, 50.0), untied_head=some(r, 0, 1),
                    back=some(r, 0, r.randint(1, 4)), B=r.randint(1, 2), T=r.randint(1, 9))

    @staticmethod
    def case(s):
        c = Case(s)
        assert s["heads"] * s["layers"] * s["ff"] * s["B"] * s["T"] > 0 and s["V"] > 1 and s["eps"] > 0
        assert s["kv_heads"] > 0 and s["heads"] % s["kv_heads"] == 0 and s["theta"] > 1
        assert s["head_size"] > 0 and s["head_size"] % 2 == 0 and s["emb"] > 0 and s["emb"] % s["heads"] == 0
        shutil.rmtree(FOLDER, ignore_errors=True)
        model_of(s).save_pretrained(FOLDER)
        assert json.loads((FOLDER / "config.json").read_text())["model_type"] == s["family"]
        c.texts = {"config": str(FOLDER / "config.json"), "weights": str(FOLDER / "model.safetensors")}
        c.ints("tokens", s["V"], [s["B"], s["T"]])
        return c

    @staticmethod
    def keep(s):
        """The case with files that stay, for the program that is printed."""
        c, kept = pretrained.case(s), f"{FOLDER}-{s['seed']}"
        shutil.copytree(FOLDER, kept, dirs_exist_ok=True)
        c.texts = {k: v.replace(str(FOLDER), kept) for k, v in c.texts.items()}
        return c

    @staticmethod
    def reference(f, s, p):
        if f is Torch:
            model = FAMILIES[s["family"]][0].from_pretrained(FOLDER, dtype=torch.float64).eval()
            with torch.no_grad():
                return model(p["tokens"])[0]
        s = s | {"causal": 1}
        if s["family"] in ("gpt2", "bert"):
            s |= {"emb": s["heads"] * s["head_size"], "kv_heads": 0, "untied_head": 0, "back": 0}
        if s["family"] == "gpt2":
            return ref.gpt(f, s | {"activation": 1}, p)
        if s["family"] == "bert":
            return ref.encoder(f, s | {"post_norm": 1, "emb_norm": 1, "types": 2}, p)
        window = s["back"] if s["family"] == "mistral" else 0
        return ref.gpt(f, s | {"norm": 1, "gated": 1, "activation": 3, "position_kind": 2, "rotary": 1, "back": window},
                       p)
