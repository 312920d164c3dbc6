"""The table of docs/python.md: both columns run, and give the same tokens."""
import contextlib
import io
import os
import re
import unittest

from support import SOURCE, SUM, TINY, WEATHER, tiny

try:
    import torch
    import transformers
except ImportError:
    transformers = None

QUESTIONS = [SUM, WEATHER, [{"role": "user", "content": "Spell the word garden."}], [{"role": "user", "content": "What is the capital of Italy?"}]]


def columns():
    """The two programs, as lists of lines."""
    with open(os.path.join(SOURCE, "docs", "python.md"), encoding="utf-8") as file:
        section = file.read().split("## From transformers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+)` \| `(.+)` \|$", section, re.M)
    return [row[0] for row in rows], [row[1] for row in rows]


class DropIn(unittest.TestCase):
    def run_column(self, lines, messages):
        names, said = {"path": TINY, "messages": messages}, io.StringIO()
        with contextlib.redirect_stdout(said):
            for line in lines:
                exec(line, names)
        return names, said.getvalue()

    def test_as_many_lines_as_transformers_needs(self):
        theirs, ours = columns()
        self.assertEqual((len(theirs), len(ours)), (6, 6))

    def test_our_column_runs(self):
        names, said = self.run_column(columns()[1], SUM)
        self.assertIn("85", said)
        self.assertEqual(names["ids"], tiny().apply_chat_template(SUM))

    @unittest.skipIf(transformers is None, "transformers is not installed")
    def test_both_columns_give_the_same_tokens(self):
        transformers.logging.set_verbosity_error()
        for messages in QUESTIONS:
            theirs, ours = (self.run_column(column, messages)[0] for column in columns())
            self.assertEqual(theirs["ids"][0].tolist(), ours["ids"])
            answer = theirs["out"][0, theirs["ids"].shape[1]:].tolist()
            if ours["out"].finish_reason == "stop":
                self.assertIn(answer.pop(), tiny().stop_ids)
            self.assertEqual(answer, ours["out"].ids, messages)


if __name__ == "__main__":
    unittest.main()
