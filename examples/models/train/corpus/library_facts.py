"""Questions about the mm2 library and about the words of its field."""

from .turns import answer, one_turn


MM2_FACTS = [  # (subject for the reasoning, questions, answer, words a right answer contains)
    (
        "mm2",
        [
            "What is mm2?", "What does mm2 do?", "Tell me about mm2.", "Explain mm2.",
            "What is this library?", "What is mm2 for?",
        ],
        (
            "mm2 is an embeddable C++ inference library for the MiniMax-M2 family of "
            "models, with a stable C ABI and Python bindings."
        ),
        ["C++", "MiniMax-M2"],
    ),
    (
        "the C ABI",
        [
            "What is the C ABI?", "Does mm2 have a C API?", "What is the C ABI of mm2?",
            "Can I use mm2 from C?", "How do I call mm2 from C?",
        ],
        (
            "The C ABI is a set of plain C functions whose names begin with mm2_. Any "
            "language that can call C can use them."
        ),
        ["mm2_"],
    ),
    (
        "Python",
        [
            "Can I use mm2 from Python?", "How do I use mm2 in Python?",
            "Is there a Python binding?", "Does mm2 work with Python?",
        ],
        "Yes. Write import mm2 in Python; the bindings call the same C ABI.",
        ["import mm2"],
    ),
    (
        "formats",
        [
            "Which formats does mm2 support?", "What formats are supported?",
            "Which checkpoints can mm2 load?", "What weight formats can mm2 read?",
        ],
        (
            "mm2 reads safetensors checkpoints in BF16, FP8, W4A16 (GPTQ, AWQ and "
            "AutoRound) and NVFP4."
        ),
        ["FP8", "NVFP4"],
    ),
    (
        "loading",
        [
            "How do I load a checkpoint?", "How can I load a model?", "How do I open a model?",
            "How do I load a model with mm2?",
        ],
        (
            "Give mm2 the folder of the checkpoint: it reads config.json, the tokenizer and "
            "the safetensors files in it."
        ),
        ["folder", "config.json"],
    ),
    (
        "streaming",
        [
            "How do I stream tokens?", "How does streaming work?", "Can mm2 stream the answer?",
            "How can I stream the output?",
        ],
        (
            "Call step in a loop. Each step gives the next token, and the codec turns it "
            "into text that you can print at once."
        ),
        ["step", "codec"],
    ),
    (
        "FP8",
        ["What is FP8?", "What does FP8 mean?", "Explain FP8.", "How does FP8 work?"],
        (
            "FP8 stores each weight in 8 bits as a small floating-point number, with one "
            "scale for every block of 128 by 128 weights."
        ),
        ["8 bits", "128"],
    ),
    (
        "W4A16",
        [
            "What is W4A16?", "What does W4A16 mean?", "Explain W4A16.",
            "What is 4-bit quantisation?",
        ],
        (
            "W4A16 means weights in 4 bits and activations in 16 bits. Groups of weights, "
            "often 128, share one scale."
        ),
        ["4 bits", "16 bits"],
    ),
    (
        "NVFP4",
        ["What is NVFP4?", "What does NVFP4 mean?", "Explain NVFP4.", "How does NVFP4 work?"],
        (
            "NVFP4 stores weights as 4-bit floating-point numbers, with an FP8 scale for "
            "every 16 weights and one global scale."
        ),
        ["4-bit", "16"],
    ),
    (
        "BF16",
        ["What is BF16?", "What does BF16 mean?", "Explain BF16."],
        "BF16 is a 16-bit floating-point format with the range of FP32 but fewer digits.",
        ["16-bit"],
    ),
    (
        "REAP",
        [
            "What is REAP?", "What does REAP do?", "Explain REAP.", "What is expert pruning?",
            "How does REAP work?", "How can I prune experts?",
        ],
        (
            "REAP removes the experts that matter least. It measures how much each expert "
            "adds to the output and drops the weakest ones."
        ),
        ["experts"],
    ),
    (
        "merging",
        [
            "What is SLERP?", "How do I merge two models?", "What is checkpoint merging?",
            "Can mm2 merge checkpoints?", "Explain SLERP.",
        ],
        (
            "SLERP merges two checkpoints by moving along the arc between their weights "
            "instead of the straight line."
        ),
        ["checkpoints", "arc"],
    ),
    (
        "mixture of experts",
        [
            "What is a mixture of experts?", "What is an expert?", "What is MoE?",
            "What does MoE mean?", "Explain mixture of experts.",
        ],
        (
            "In a mixture of experts, a router picks a few small networks, the experts, for "
            "each token. The others rest."
        ),
        ["router"],
    ),
    (
        "the router",
        [
            "What is a router?", "What does the router do?", "How are experts chosen?",
            "How does the router choose experts?",
        ],
        (
            "The router gives every expert a sigmoid score for the token and picks the best "
            "ones, helped by a balancing bias."
        ),
        ["score"],
    ),
    (
        "tokens",
        ["What is a token?", "What does token mean?", "Explain tokens."],
        (
            "A token is a piece of text, such as a short word or a part of a word, that the "
            "model reads as one number."
        ),
        ["piece of text"],
    ),
    (
        "the tokenizer",
        ["What is a tokenizer?", "What does the tokenizer do?"],
        "A tokenizer cuts text into tokens and gives each one a number.",
        ["tokens"],
    ),
    (
        "the KV cache",
        ["What is the KV cache?", "What does the KV cache do?", "Explain the KV cache."],
        (
            "The KV cache keeps the keys and values of earlier tokens, so that each new "
            "token needs only one step."
        ),
        ["keys and values"],
    ),
    (
        "RoPE",
        ["What is RoPE?", "Explain RoPE.", "What does RoPE do?"],
        (
            "RoPE turns parts of the queries and keys by an angle that grows with the "
            "position, so the model knows the order of tokens."
        ),
        ["position"],
    ),
    (
        "quantisation",
        [
            "What is quantisation?", "What is quantization?", "Why quantise a model?",
            "What does quantization do?",
        ],
        (
            "Quantisation stores weights with fewer bits. The model becomes smaller and "
            "faster, at a small loss of quality."
        ),
        ["fewer bits"],
    ),
    (
        "perplexity",
        ["What is perplexity?", "What does perplexity mean?"],
        "Perplexity says how surprised a model is by a text. Lower is better.",
        ["Lower is better"],
    ),
    (
        "temperature",
        ["What is temperature?", "What does temperature do?"],
        (
            "Temperature sets how random the choice of tokens is. At zero the model always "
            "takes the most likely token."
        ),
        ["random"],
    ),
    (
        "the reasoning block",
        ["What is the think block?", "Why do you think first?", "What is reasoning?"],
        (
            "Before I answer, I write a short reasoning between think tags. mm2 separates "
            "it from the answer."
        ),
        ["reasoning"],
    ),
    (
        "tool calls",
        [
            "What is a tool call?", "How do tool calls work?", "Can you call tools?",
            "What are tools?",
        ],
        (
            "You describe tools in the system turn. When one fits, I write its name and "
            "arguments, and your program runs it."
        ),
        ["arguments"],
    ),
    (
        "the GPU",
        [
            "Do I need a GPU?", "Does mm2 need CUDA?", "Can mm2 run on the CPU?",
            "Does mm2 run without a GPU?",
        ],
        (
            "No GPU is needed. mm2 runs on the CPU, and uses CUDA when the plug-in and a "
            "GPU are there."
        ),
        ["CPU"],
    ),
    (
        "safetensors",
        ["What is safetensors?", "What is a safetensors file?"],
        (
            "A safetensors file holds tensors: a JSON header with names, types and offsets, "
            "then the raw numbers."
        ),
        ["header"],
    ),
    (
        "the engine",
        ["What is the engine?", "What does the engine do?"],
        (
            "The engine runs the model: it checks a batch, reserves memory, computes one "
            "step and returns the logits."
        ),
        ["step"],
    ),
    (
        "the mm2 command",
        ["How do I chat with a model?", "How do I start a chat?", "What is mm2 chat?"],
        "Run mm2 chat with the folder of a checkpoint, then type your message.",
        ["mm2 chat"],
    ),
    (
        "memory",
        ["How much memory do I need?", "How much memory does mm2 use?"],
        ("Call mm2_engine_estimate before you create an engine: it tells every byte in advance."),
        ["mm2_engine_estimate"],
    ),
    (
        "the server",
        ["Does mm2 have a server?", "Is there an HTTP server?", "Is mm2 compatible with OpenAI?"],
        "Yes. The examples contain a small server that speaks the OpenAI protocol.",
        ["OpenAI"],
    ),
    (
        "batch invariance",
        ["What is batch invariance?", "Are results reproducible?", "Is mm2 deterministic?"],
        ("On one backend mm2 gives the same bits for a sequence, whatever else is in the batch."),
        ["same bits"],
    ),
    (
        "the model",
        ["What is MiniMax-M2?", "Tell me about MiniMax-M2.", "What is the MiniMax-M2 family?"],
        (
            "MiniMax-M2 is a family of large mixture-of-experts language models. I have the "
            "same architecture, but I am tiny."
        ),
        ["mixture-of-experts"],
    ),
]


def mm2_fact(r):
    subject, asks, text, must = r.choice(MM2_FACTS)
    return one_turn(
        r,
        "mm2_facts",
        r.choice(asks),
        answer(f"The user asks about {subject}. I know this.", text, must=must),
    )
