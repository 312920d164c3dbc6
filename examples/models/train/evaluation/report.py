"""Markdown tables of the figures of a report, as they stand in the README of the model."""

SKILLS = {
    "addition": "sums of numbers up to 99, word problems included",
    "capitals": "72 capitals, both directions, yes/no",
    "completion": "plain text: series, alphabet, code",
    "counting": "sequences, number of words",
    "emoji": "names and signs",
    "first_contact": "20 plain opening messages",
    "follow_up": '"And Spain?", "Now add 4."',
    "foreign": "Spanish, French, Chinese",
    "identity": "who are you, who made you",
    "knowledge": "colours, sounds, opposites, calendar …",
    "letters": "spell, reverse, count letters",
    "lists": "N different members of a category",
    "memory": "recalls what the user said earlier",
    "mixed_turns": "2 to 16 unrelated turns",
    "mm2_facts": "32 subjects about the library",
    "number_sense": "times table, larger/smaller, even/odd",
    "persona": "a name from the system prompt",
    "repeat": "copies a text exactly",
    "small_talk": "greetings, thanks, moods, jokes",
    "stories": "named hero; poems",
    "subtraction": "differences",
    "system_prompt": "short answers, date, place",
    "tool_dialogue": "a call after earlier turns",
    "tool_dialogue_result": "the answer after the result",
    "tool_not_needed": "tools are there, none is needed or none fits",
    "tool_parallel": "two or three calls",
    "tool_parallel_result": "the answer after several results",
    "tool_single": "one call",
    "tool_single_result": "the answer after the result",
    "unknown": "says that it does not know",
}
QUANTISATION = {
    "bf16": "BF16 (as shipped)",
    "fp8_block128": "FP8, blocks of 128 x 128, all matrices",
    "w4a16_g128_rtn": "W4A16, groups of 128, round to nearest, all matrices",
    "nvfp4_experts": "NVFP4, experts only",
}
PRUNING = {
    "reap_all_tokens": "lowest REAP scores, calibrated on all tokens",
    "reap_answers": "lowest REAP scores, calibrated on answer tokens",
    "least_used_all_tokens": "least used on all tokens",
    "least_used_on_answers": "least used on answer tokens",
    "highest_reap_answers": "highest REAP scores on answer tokens (the wrong end)",
    **{f"random_{i}": f"random, draw {i}" for i in range(1, 6)},
}


def percent(share):
    return f"{100 * share:.1f} %"


def rows(head, lines):
    rule = "|" + "---|" * len(head)
    cells = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return [cells[0], rule, *cells[1:]]


def skill_table(greedy):
    total = greedy["all"]
    lines = [
        [
            skill, SKILLS.get(skill, ""), str(v["count"]), percent(v["right"]),
            percent(v["well_formed"]),
        ]
        for skill, v in greedy["skills"].items()
    ]
    lines.append(
        ["**all**", "", str(total["count"]), percent(total["right"]), percent(total["well_formed"])]
    )
    return [
        *rows(["skill", "what", "questions", "right", "well formed"], lines),
        "",
        f"Tool calls ({total['tool_turns']} turns that must call): "
        f"**{percent(total['tool_call_valid'])}** are syntactically perfect, "
        f"**{percent(total['tool_call_exact'])}** have exactly the right names, "
        "arguments and types.",
    ]


def change_table(first, names, entries):
    lines = []
    for key, name in names.items():
        v = entries[key]
        cells = [f"{v['perplexity']:.3f}", f"{v['mean_kl']:.4f}", percent(v["same_top_token"])]
        tested = [percent(v[k]) if k in v else "-" for k in ("right", "tool_call_exact")]
        lines.append([name, *cells, *tested])
    return rows([first, "perplexity", "mean KL", "same top token", "right", "calls exact"], lines)


def load_table(load):
    lines = [[str(i), f"{min(v):.2f}", f"{max(v):.2f}"] for i, v in enumerate(load)]
    return rows(["layer", "least busy", "busiest"], lines)


def markdown(report):
    blocks = []
    if "greedy" in report:
        blocks.append(skill_table(report["greedy"]))
    if "sampled" in report:
        v = report["sampled"]
        blocks.append([
            f"Sampled: {percent(v['right'])} right, {percent(v['well_formed'])} well formed, "
            f"{percent(v['tool_call_valid'])} of the tool calls valid."
        ])
    if "perplexity" in report:
        v = report["perplexity"]
        blocks.append([f"Perplexity: **{v['perplexity']:.3f}** ({v['answer_tokens']} tokens)."])
    if "long_chats" in report:
        parts = [
            f"{k.replace('_', ' ')}: {percent(v['right'])}" for k, v in report["long_chats"].items()
        ]
        blocks.append(
            ["Questions at the end of long chats, right answers: " + " · ".join(parts) + "."]
        )
    if "quantisation" in report:
        blocks.append(change_table("weights", QUANTISATION, report["quantisation"]))
    if "pruning" in report:
        blocks.append(change_table("removed", PRUNING, report["pruning"]))
    if "expert_load" in report:
        blocks.append(load_table(report["expert_load"]))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"
