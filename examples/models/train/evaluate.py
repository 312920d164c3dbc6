"""Measures mm2-tiny, and judges the answers that another engine gave to the same questions.

    python evaluate.py measure --model ../mm2-tiny --out eval.json --transcripts chats.md
    python evaluate.py reference --model ../mm2-tiny --out questions.jsonl
    python evaluate.py judge --questions questions.jsonl --answers answers.jsonl
    python evaluate.py tables --figures eval.json

`measure` and `reference` need torch and transformers; `judge` and `tables` need only Python.

The questions come from the held-out part of corpus/: none of them is a training dialogue. The file
of `reference` holds one JSON object per question: skill, prompt_ids, answer_ids (greedy, BF16, by
transformers), check (see evaluation/judging.py) and right. The file of answers holds one JSON
object per line, in the same order: {"answer_ids": [...]} or {"text": "..."}, everything that the
model wrote after the prompt. An answer that lacks the end-of-turn token counts as cut off, unless
its object says "finish_reason": "stop".
"""

import argparse
import json
import sys
from pathlib import Path

from evaluation.judging import END, Score, judge
from evaluation.report import markdown
from tiny.vocabulary import Decoder

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "mm2-tiny"


def write_lines(path, objects):
    lines = (json.dumps(o, ensure_ascii=False, separators=(",", ":")) + "\n" for o in objects)
    path.write_text("".join(lines), encoding="utf-8")


def read_lines(path):
    with path.open(encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def load_subject(args):
    """The model; torch and transformers are imported only here."""
    import torch
    from evaluation.answers import Subject

    torch.set_num_threads(args.threads)
    return Subject(args.model)


def command_measure(args):
    subject = load_subject(args)
    from evaluation.measure import PARTS, measure
    from evaluation.transcripts import transcripts

    parts = args.parts.split(",") if args.parts else PARTS
    unknown = set(parts) - set(PARTS)
    if unknown:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    failures = []
    report = measure(subject, args, parts, failures)
    if args.failures:
        write_lines(args.failures, failures)
    if args.transcripts:
        args.transcripts.write_text(transcripts(subject), encoding="utf-8")
    text = json.dumps(report, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def command_reference(args):
    subject = load_subject(args)
    from evaluation.skills import reference

    write_lines(args.out, reference(subject, args.per_skill, args.seed))


def answer_text(answer, decode):
    text = answer["text"] if "text" in answer else decode(answer["answer_ids"])
    if answer.get("finish_reason") == "stop" and not text.endswith(END):
        text += END
    return text


def command_judge(args):
    questions, answers = read_lines(args.questions), read_lines(args.answers)
    if len(questions) != len(answers):
        sys.exit(f"{len(questions)} questions, but {len(answers)} answers")
    decode = Decoder(args.model / "tokenizer.json")
    score, same, wrong = Score(), 0, []
    for number, (question, answer) in enumerate(zip(questions, answers)):
        text = answer_text(answer, decode)
        marks = judge(text, question["check"])
        score.add(question["skill"], marks)
        same += text == decode(question["answer_ids"])
        if not marks[1]:
            wrong.append(dict(question=number, skill=question["skill"], output=text))
    table = score.table()
    total = table["all"]
    for name, row in [*table["skills"].items(), ("all", total)]:
        print(
            f"{name:24}{row['count']:5}  right {100 * row['right']:5.1f} %"
            f"  well formed {100 * row['well_formed']:5.1f} %"
        )
    if total["tool_turns"]:
        print(
            f"tool calls: {total['tool_turns']} turns, valid "
            f"{100 * total['tool_call_valid']:.1f} %, "
            f"exact {100 * total['tool_call_exact']:.1f} %"
        )
    print(f"equal to the reference answer: {same} of {len(questions)}")
    if args.out:
        args.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if args.failures:
        write_lines(args.failures, wrong)
    if total["right"] < args.minimum:
        sys.exit(
            f"right: {100 * total['right']:.1f} %, less than the {100 * args.minimum:g} % asked for"
        )


def command_tables(args):
    print(markdown(json.loads(args.figures.read_text(encoding="utf-8"))), end="")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, help):
        sub = commands.add_parser(function.__name__.removeprefix("command_"), help=help)
        sub.set_defaults(run=function)
        return sub.add_argument

    def model_options(add):
        add("--model", type=Path, default=MODEL, help="checkpoint folder")
        add("--per-skill", type=int, default=30, help="questions per generator")
        add("--threads", type=int, default=2)
        add("--seed", type=int, default=777)

    add = command(command_measure, "skills, perplexity, quantisation and pruning")
    model_options(add)
    add("--out", type=Path, help="JSON file for the figures")
    add("--parts", help="comma-separated; by default all")
    add("--few", type=int, default=4, help="--per-skill of sampling and of the changed models")
    add("--docs", type=int, default=200, help="documents for perplexity")
    add("--transcripts", type=Path, help="Markdown file for a few conversations")
    add("--failures", type=Path, help="JSON-lines file for the wrong answers")

    add = command(command_reference, "the questions with the answers of transformers")
    model_options(add)
    add("--out", type=Path, required=True, help="JSON-lines file to write")

    add = command(command_judge, "judge the answers of another engine")
    add("--questions", type=Path, required=True, help="the file of `reference`")
    add("--answers", type=Path, required=True, help="JSON-lines file of answers")
    add("--model", type=Path, default=MODEL, help="checkpoint folder, for its tokenizer")
    add("--out", type=Path, help="JSON file for the figures")
    add("--failures", type=Path, help="JSON-lines file for the wrong answers")
    add(
        "--minimum", type=float, default=0, help="exit with an error below this share of right ones"
    )

    add = command(command_tables, "Markdown tables of the figures of `measure`")
    add("--figures", type=Path, default=MODEL / "eval.json")
    return parser.parse_args()


def main():
    args = arguments()
    args.run(args)


if __name__ == "__main__":
    main()
