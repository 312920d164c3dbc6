"""Synthetic dialogues for mm2-tiny.

Every example is made here from word lists and sentence patterns; no outside text is used. A
generator draws one example of one skill and says, in `key`, what the example is really about. The
key decides whether the example belongs to the training set or to the held-out set, so that a
held-out question is no training dialogue, however it is worded. (Dialogues of several turns are
split as a whole: one of their turns may equal a held-out question.)
"""

from .mixture import MIXTURE, draw, part_of_mixture
from .turns import Example, user

__all__ = ["MIXTURE", "Example", "draw", "part_of_mixture", "user"]
