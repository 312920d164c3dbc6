"""Sums, differences, comparisons and counting, with the working written out."""

from .turns import answer, one_turn
from .words import PEOPLE, THINGS


def add_steps(a, b):
    ones = a % 10 + b % 10
    carry = ones // 10
    text = f"{a} + {b}. Ones: {a % 10} + {b % 10} = {ones}, write {ones % 10}, carry {carry}. "
    tens = a // 10 + b // 10 + carry
    return text + f"Tens: {a // 10} + {b // 10} + {carry} = {tens}. Result: {a + b}."


def sub_steps(a, b):
    if a < b:
        return (
            f"{a} is less than {b}, so the result is negative. "
            + sub_steps(b, a).replace("Result:", "Difference:")
            + f" Result: -{b - a}."
        )
    borrow = int(a % 10 < b % 10)
    ones = a % 10 + 10 * borrow
    return (
        f"{a} - {b}. Ones: {ones} - {b % 10} = {ones - b % 10}, borrow {borrow}. "
        f"Tens: {a // 10} - {b // 10} - {borrow} = {a // 10 - b // 10 - borrow}. Result: "
        f"{a - b}."
    )


def two_numbers(r):
    top = r.choice([10, 20, 100, 100, 100, 100])
    return r.randrange(top), r.randrange(100 if top == 100 else top)


def addition(r):
    a, b = two_numbers(r)
    think = add_steps(a, b)
    form = r.random()
    if form < 0.75:
        ask = r.choice([
            "What is {a} + {b}?", "What is {a} plus {b}?", "{a} + {b}", "{a} + {b} = ?", "{a}+{b}",
            "Calculate {a} + {b}.", "Add {a} and {b}.", "How much is {a} + {b}?",
            "Compute {a} + {b}.", "What is the sum of {a} and {b}?", "What's {a} + {b}?",
        ]).format(a=a, b=b)
        reply = answer(think, f"{a} + {b} = {a + b}")
    else:
        who, what = r.choice(PEOPLE), r.choice(THINGS)
        ask = r.choice([
            f"{who} has {a} {what} and gets {b} more. How many {what} does {who} have?",
            (
                f"{who} has {a} {what}. {r.choice(PEOPLE)} gives {who} {b} more. How many {what} "
                f"does {who} have now?"
            ),
            f"There are {a} {what} in a box and {b} {what} in a bag. How many {what} are there?",
        ])
        reply = answer(
            think,
            (
                f"There are {a + b} {what}."
                if ask.startswith("There")
                else f"{who} has {a + b} {what}."
            ),
        )
    return one_turn(r, "addition", ask, reply, key=f"{a} {b}", dressed=form < 0.5)


def subtraction(r):
    a, b = two_numbers(r)
    if r.random() < 0.9:
        a, b = max(a, b), min(a, b)
    think = sub_steps(a, b)
    if a < b or r.random() < 0.75:
        ask = r.choice([
            "What is {a} - {b}?", "What is {a} minus {b}?", "{a} - {b}", "{a} - {b} = ?", "{a}-{b}",
            "Calculate {a} - {b}.", "Subtract {b} from {a}.", "How much is {a} - {b}?",
            "Compute {a} - {b}.", "What's {a} - {b}?",
        ]).format(a=a, b=b)
        reply = answer(think, f"{a} - {b} = {a - b}")
    else:
        who, what = r.choice(PEOPLE), r.choice(THINGS)
        ask = r.choice([
            f"{who} has {a} {what} and loses {b}. How many {what} are left?",
            f"{who} has {a} {what}. {who} gives {b} away. How many {what} are left?",
        ])
        reply = answer(think, f"{who} has {a - b} {what} left.")
    return one_turn(r, "subtraction", ask, reply, key=f"{a} {b}", dressed=r.random() < 0.5)


def product(r):
    a, b = r.randint(0, 10), r.randint(1, 10)
    ask = r.choice([
        "What is {a} x {b}?", "What is {a} times {b}?", "{a} * {b}", "{a} x {b} = ?",
        "Multiply {a} by {b}.", "Calculate {a} * {b}.", "What is {a} * {b}?",
    ]).format(a=a, b=b)
    return one_turn(
        r,
        "number_sense",
        ask,
        answer(f"From the times table: {a} x {b} = {a * b}.", f"{a} x {b} = {a * b}"),
    )


def comparison(r):
    a, b = r.sample(range(100), 2)
    if a // 10 != b // 10:
        why = f"Tens: {a // 10} and {b // 10}. {max(a // 10, b // 10)} is larger."
    else:
        why = (
            f"Tens: {a // 10} and {b // 10} are equal. Ones: {a % 10} and {b % 10}. "
            f"{max(a % 10, b % 10)} is larger."
        )
    word, out = ("larger", max(a, b)) if r.random() < 0.6 else ("smaller", min(a, b))
    ask = r.choice([
        f"Which is {word}, {a} or {b}?", f"Which number is {word}: {a} or {b}?",
        f"What is {word}, {a} or {b}?",
    ])
    return one_turn(
        r,
        "number_sense",
        ask,
        answer(f"{why} So {max(a, b)} is larger.", f"{out} is {word}."),
        key=f"cmp {a} {b}",
    )


def parity(r):
    n = r.randrange(200)
    word = "odd" if n % 2 else "even"
    ask = r.choice(
        [f"Is {n} even or odd?", f"Is {n} odd or even?", f"Is the number {n} even or odd?"]
    )
    return one_turn(
        r,
        "number_sense",
        ask,
        answer(f"The last digit of {n} is {n % 10}, which is {word}.", f"{n} is {word}."),
        key=f"par {n}",
    )


def double(r):
    n = r.randrange(1, 50)
    ask = r.choice([f"What is the double of {n}?", f"What is twice {n}?", f"Double {n}."])
    return one_turn(
        r, "number_sense", ask, answer(add_steps(n, n), f"{n} + {n} = {2 * n}"), key=f"dbl {n}"
    )


def number_sense(r):
    return r.choice([product, product, comparison, parity, double])(r)


def count_up(r):
    start, step = r.randint(0, 60), r.choice([1, 1, 1, 1, 2, 5, 10])
    if r.random() < 0.4:
        start = 1 if step == 1 else step
    if step == 10:
        start = 10 * r.randint(0, 4)
    n = r.randint(3, 10)
    seq = [start + step * i for i in range(n)]
    if step == 1 and r.random() < 0.3:
        seq.reverse()
        ask = r.choice([
            f"Count down from {seq[0]} to {seq[-1]}.",
            f"Count backwards from {seq[0]} to {seq[-1]}.",
        ])
        think = f"I start at {seq[0]} and go down by 1 until {seq[-1]}."
    elif step == 1:
        ask = r.choice([
            f"Count from {seq[0]} to {seq[-1]}.", f"Count from {seq[0]} up to {seq[-1]}.",
            f"List the numbers from {seq[0]} to {seq[-1]}.",
        ])
        if seq[0] == 1 and r.random() < 0.5:
            ask = f"Count to {seq[-1]}."
        think = f"I start at {seq[0]} and go up by 1 until {seq[-1]}."
    else:
        ask = f"Count from {seq[0]} to {seq[-1]} by {step}."
        think = f"I start at {seq[0]} and go up by {step} until {seq[-1]}."
    return one_turn(
        r, "counting", ask, answer(think, ", ".join(map(str, seq))),
        key=f"{seq[0]} {seq[-1]} {step}",
    )
