"""Runs the default model with the transformers library alone, in a process of its own, and saves what it computed.

`python tests/model/reference.py FOLDER OUT.npz PROMPT` knows nothing of this project: the tests compare against it.
"""

import sys
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SAMPLING = {"temperature": 0.9, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.1}
NEW, SEED = 8, 11


def main(folder: str, out: str, prompt: str) -> None:
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    stock: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert stock.dtype == torch.float32
    told = {"max_new_tokens": NEW, "output_logits": True, "output_scores": True, "return_dict_in_generate": True}
    greedy = stock.generate(ids, do_sample=False, **told)
    torch.manual_seed(SEED)
    drawn = stock.generate(ids, do_sample=True, **SAMPLING, **told)
    stock.set_attn_implementation("eager")
    with torch.no_grad():
        whole = stock(greedy.sequences[:, :-1], output_attentions=True, output_hidden_states=True, use_cache=False)
    np.savez(
        out,
        ids=greedy.sequences[0].numpy(),
        logits=torch.cat(greedy.logits).numpy(),
        drawn_ids=drawn.sequences[0].numpy(),
        drawn_logits=torch.cat(drawn.logits).numpy(),
        drawn_scores=torch.cat(drawn.scores).numpy(),
        attentions=torch.cat(whole.attentions).numpy(),
        hidden=torch.cat(whole.hidden_states).numpy(),
        whole_logits=whole.logits[0].numpy(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
