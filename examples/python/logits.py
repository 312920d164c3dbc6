"""The logits of a step: what the model holds likely next, and what follows from each: python3 examples/python/logits.py [MODEL [TEXT]]"""

import sys

import mm2
import numpy as np

model = mm2.load(sys.argv[1] if len(sys.argv) > 1 else "examples/models/mm2-tiny")
engine, tokenizer = model.engine(), model.tokenizer
prompt = tokenizer.encode(sys.argv[2] if len(sys.argv) > 2 else "The capital of Japan is")

logits = engine.step([mm2.Rows(seq=0, tokens=prompt)])[0]  # a view: [n_vocab], float32
likely = np.argsort(logits)[::-1][:3]
shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

# One continuation for each of them, in one batch: sequences 1 to 3 share the prompt's keys and values with sequence 0.
for i in range(3):
    engine.fork(0, i + 1)
after = engine.step(mm2.Rows(seq=i + 1, tokens=token) for i, token in enumerate(likely)).numpy()

for token, row in zip(likely, after):
    text, then = tokenizer.decode([token]), tokenizer.decode([row.argmax()])
    print(f"{shares[token]:7.2%}  {text!r}, then {then!r}")
