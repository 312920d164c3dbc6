"""All the measurements of evaluate.py in one report."""

import time
from contextlib import nullcontext

import torch

from .distance import compare, log_probs, test_documents
from .pruning import expert_statistics, plans, pruned, relative_load
from .quantisation import SCHEMES, quantised
from .skills import measure_long, measure_skills

PARTS = ["skills", "sampled", "long", "perplexity", "quantisation", "pruning"]
WITH_SKILLS = ("reap_answers", "random_1")  # the pruning plans that take the skill test as well


def measure_changes(subject, args, parts):
    """Perplexity, quantisation and pruning: one set of documents, one unchanged model."""
    model = subject.model
    docs = test_documents(subject, args.docs, True, args.seed)
    base, targets = log_probs(model, docs)
    report = {
        "perplexity": dict(
            documents=len(docs), answer_tokens=len(targets), **compare(base, base, targets)
        )
    }

    def variant(change, per_skill):
        with change:
            entry = compare(base, log_probs(model, docs)[0], targets)
            if per_skill:
                entry.update(measure_skills(subject, per_skill, args.seed + 1)["all"])
        return entry

    if "quantisation" in parts:
        report["quantisation"] = {"bf16": variant(nullcontext(), args.few)}
        for name, (scheme, experts_only) in SCHEMES.items():
            report["quantisation"][name] = variant(quantised(model, scheme, experts_only), args.few)
    if "pruning" in parts:
        calibration = test_documents(subject, 300, False, args.seed + 2)
        stats = expert_statistics(model, calibration)
        on_answers = expert_statistics(model, calibration, answers_only=True)
        report["expert_load"] = relative_load(stats)
        report["expert_load_on_answers"] = relative_load(on_answers)
        report["pruning"] = {
            name: variant(pruned(model, plan), args.few if name in WITH_SKILLS else 0)
            for name, plan in plans(stats, on_answers, args.seed).items()
        }
    return report


def measure(subject, args, parts, failures):
    start = time.time()
    report = {}
    if "skills" in parts:
        report["greedy"] = measure_skills(subject, args.per_skill, args.seed, failures)
    if "sampled" in parts:  # the sampling that generation_config.json recommends
        torch.manual_seed(args.seed)
        sampling = dict(do_sample=True, temperature=1.0, top_p=0.95, top_k=40)
        table = measure_skills(subject, args.few, args.seed + 3, sampling=sampling)
        report["sampled"] = table["all"]
    if "long" in parts:
        report["long_chats"] = measure_long(subject, 20, args.seed)
    if {"perplexity", "quantisation", "pruning"} & set(parts):
        report.update(measure_changes(subject, args, parts))
    report["minutes"] = round((time.time() - start) / 60, 1)
    return report
