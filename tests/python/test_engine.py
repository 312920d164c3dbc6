"""Loading, steps, logits and their life, errors, threads, Ctrl-C."""
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

import mm2
import numpy as np
from support import SOURCE, TINY, all_free, prompt, tiny


class Loading(unittest.TestCase):
    def test_tells_shape_and_size(self):
        info = tiny().info
        self.assertEqual((info.n_layers, info.hidden, info.n_experts, info.n_vocab), (4, 256, 16, 1664))
        self.assertTrue(info.has_weights)
        self.assertEqual(tiny().describe()["generation"]["eos_token_ids"], [1620])

    def test_reports_progress_in_bytes_up_to_the_end(self):
        seen = []
        mm2.load(TINY, progress=seen.append)
        self.assertTrue(seen)
        self.assertEqual(seen[-1].done, seen[-1].total)
        self.assertTrue({p.stage for p in seen} <= {"open", "load", "pack"}, seen)

    def test_what_a_progress_callback_raises_ends_the_load_and_comes_out(self):
        class Enough(Exception):
            pass

        def stop(progress):
            raise Enough(progress.stage)

        with self.assertRaises(Enough):
            mm2.load(TINY, progress=stop)

    def test_moves_a_bar_like_that_of_tqdm(self):
        class Bar:
            n, total, desc = 0, None, None

            def reset(self, total=None):
                self.n, self.total = 0, total

            def update(self, n):
                self.n += n

        bar = Bar()
        mm2.load(TINY, progress=mm2.tqdm_progress(bar))
        self.assertEqual(bar.n, bar.total)

    def test_a_missing_folder_is_a_file_not_found_error_with_the_code(self):
        with self.assertRaises(FileNotFoundError) as caught:
            mm2.load("/no/such/folder")
        self.assertIsInstance(caught.exception, mm2.NotFound)
        self.assertEqual(caught.exception.code, -6)
        self.assertIn("/no/such/folder", str(caught.exception))

    def test_a_repository_is_looked_for_in_the_cache_only(self):
        with self.assertRaises(mm2.NotFound) as caught:
            mm2.load("nobody/no-such-model")
        self.assertIn("nothing is downloaded", str(caught.exception))

    def test_an_unknown_choice_is_a_value_error_that_lists_the_others(self):
        with self.assertRaisesRegex(ValueError, "'auto', 'generic'"):
            mm2.load(TINY, isa="sse9")

    def test_every_code_has_its_exception(self):
        for code, kind in mm2._errors._BY_CODE.items():
            made = mm2._errors.from_status(code, "words", 1, 2)
            self.assertIs(type(made), kind)
            self.assertEqual((made.code, made.native_code, str(made)), (code, 2, "words"))
        names = {mm2._core._status_name(code): code for code in range(-100, 10)}
        names.pop("unknown status", None)
        self.assertEqual(set(mm2._errors._BY_CODE), set(names.values()) - {0, 3})  # not OK and NO_MORE

    def test_the_log_goes_to_logging(self):
        with self.assertLogs("mm2", logging.DEBUG) as caught:
            logging.getLogger("mm2.test").debug("one at least")
            mm2.load(TINY, packed_cache="/proc/no-such-folder")
        self.assertTrue([r for r in caught.records if r.levelno == logging.WARNING], caught.output)


class Steps(unittest.TestCase):
    def setUp(self):
        self.engine = tiny().engine()

    def step(self, tokens, seq=0, **options):
        return self.engine.step([mm2.Rows(seq, tokens)], **options)

    def test_logits_are_those_of_the_whole_prompt_however_it_is_cut(self):
        ids = prompt()
        whole = self.step(ids).numpy().copy()
        for i, token in enumerate(ids):
            logits = self.step(token, seq=1)
            self.assertEqual(self.engine.seq_length(1), i + 1)
        np.testing.assert_array_equal(whole, logits.numpy())

    def test_rows_take_ids_in_any_form(self):
        for ids in ([5, 6], (5, 6), np.array([5, 6], np.int32), np.array([5, 6], np.int64), range(5, 7)):
            self.assertEqual(mm2.Rows(0, ids).tokens, [5, 6])
        self.assertEqual(mm2.Rows(0, np.int64(5)).tokens, mm2.Rows(0, 5).tokens)
        for wrong in (np.array([1.0]), [1.5], "12", None):
            with self.assertRaises(TypeError, msg=repr(wrong)):
                mm2.Rows(0, wrong)
        for wrong in ([1 << 31], -1 << 40, np.zeros((2, 2), np.int32)):
            with self.assertRaises(ValueError, msg=repr(wrong)):
                mm2.Rows(0, wrong)

    def test_methods_of_every_token_take_names_and_refuse_what_they_do_not_know(self):
        engine, sampler, text = tiny().engine(), mm2.Sampler(1664), tiny().tokenizer.stream()
        logits = engine.step(rows=[mm2.Rows(0, [1, 2], outputs=2)], partial=True, keep=True)
        self.assertEqual(sampler.sample(row=1, logits=logits), sampler.sample(logits[1]))
        self.assertEqual(sampler.sample(logits, row=-2), sampler.sample(logits, 0))
        self.assertIsNone(sampler.accept(token=3))
        self.assertEqual(text.push(token=40), tiny().tokenizer.stream().push(40))
        for wrong in (
            lambda: engine.step(), lambda: engine.step([], [], []), lambda: engine.step([mm2.Rows(1, 1)], kept=True),
            lambda: engine.step([mm2.Rows(1, 1)], rows=[]), lambda: engine.step([(1, 1)]), lambda: engine.step([None]), lambda: engine.step(3),
            lambda: engine.step([mm2.Rows(1, 1)], cancellation=3), lambda: mm2.Engine.step(sampler, []), lambda: mm2.Engine.step(),
            lambda: sampler.sample(), lambda: sampler.sample(logits, 0, 0), lambda: sampler.sample(logits, 0, row=0), lambda: sampler.sample(logits, line=0),
            lambda: sampler.sample(logits, 0.5), lambda: sampler.accept(), lambda: sampler.accept(1, 2), lambda: sampler.accept(1.0),
            lambda: sampler.accept(tok=1), lambda: mm2.Sampler.accept(engine, 1), lambda: text.push(), lambda: text.push("a"), lambda: text.push(1, 2),
            lambda: engine._advance(1, 1, 0, engine, False, None), lambda: engine._advance(1, 1, 0, sampler, False, sampler),
        ):
            with self.assertRaises(TypeError):
                wrong()
        for wrong in (lambda: sampler.accept(1 << 40), lambda: sampler.sample(logits, 1 << 70), lambda: text.push(-1 << 40)):
            with self.assertRaises(ValueError):
                wrong()
        self.assertEqual((engine.seq_length(0), engine.seq_length(1)), (2, 0))

    def test_logits_are_in_the_order_of_the_batch(self):
        ids = prompt()
        both = self.engine.step([mm2.Rows(0, ids, outputs=2), mm2.Rows(1, ids[:3], outputs=0), mm2.Rows(2, ids)])
        self.assertEqual(both.shape, (3, 1664))
        np.testing.assert_array_equal(both[1], both[2])
        self.assertFalse(np.array_equal(both[0], both[1]))
        self.assertEqual(len(both[-1]), 1664)
        with self.assertRaises(IndexError):
            both[3]

    def test_logits_of_a_step_that_is_over_raise(self):
        old = self.step(prompt())
        self.assertTrue(old.valid)
        self.step(7)
        self.assertFalse(old.valid)
        sampler = mm2.Sampler(1664)
        for use in (old.numpy, lambda: old[0], lambda: np.asarray(old), lambda: np.from_dlpack(old), lambda: sampler.sample(old)):
            with self.assertRaises(mm2.StaleLogits):
                use()

    def test_a_failed_step_ends_the_logits_before_it_too(self):
        old = self.step(prompt())
        with self.assertRaises(ValueError):
            self.step(99999)
        with self.assertRaises(mm2.StaleLogits):
            old.numpy()

    def test_a_view_keeps_its_numbers_whatever_the_engine_does(self):
        views, copies = [], []
        for token in range(20):
            logits = self.step(token)
            views.append(np.from_dlpack(logits) if token % 2 else logits.numpy())
            copies.append(views[-1].copy())
        del logits, self.engine
        gc.collect()
        for view, copy in zip(views, copies):
            np.testing.assert_array_equal(view, copy)
        self.assertEqual(len({v.__array_interface__["data"][0] for v in views}), 20)

    def test_kept_logits_outlive_steps_and_engine(self):
        kept = self.step(prompt(), keep=True)
        copy = kept.numpy().copy()
        self.step(3)
        self.assertTrue(kept.valid)
        self.engine = None
        gc.collect()
        np.testing.assert_array_equal(kept.numpy(), copy)

    def test_logits_outlive_their_engine(self):
        logits = tiny().engine().step([mm2.Rows(0, prompt())])
        gc.collect()
        np.testing.assert_array_equal(logits.numpy(), self.step(prompt()).numpy())

    def test_memory_is_taken_again_when_nobody_looks(self):
        def address():
            return self.step(1).numpy().__array_interface__["data"][0]

        self.assertEqual(len({address() for _ in range(10)}), 1)

    def test_views_share_the_memory(self):
        logits = self.step(prompt())
        view, other = logits.numpy(), np.from_dlpack(logits)
        self.assertEqual(view.__array_interface__["data"][0], other.__array_interface__["data"][0])
        self.assertEqual(logits.__dlpack_device__(), (1, 0))
        with self.assertRaises(BufferError):
            logits.__dlpack__(dl_device=(2, 0))
        logits.__dlpack__(max_version=(1, 0))  # a capsule that nobody takes is released
        mine = logits.__dlpack__(copy=True)
        self.assertIn("dltensor", repr(mine))

    def test_sequences_fork_truncate_and_end(self):
        ids = prompt()
        first = self.step(ids).numpy()
        self.engine.fork(0, 1)
        self.engine.truncate(1, 3)
        self.assertEqual((self.engine.seq_length(0), self.engine.seq_length(1)), (len(ids), 3))
        np.testing.assert_array_equal(first, self.step(ids[3:], seq=1).numpy())
        for seq in (0, 1):
            self.engine.free(seq)
        self.assertTrue(all_free(self.engine))
        with self.assertRaises(ValueError):
            self.engine.truncate(0, 1)

    def test_a_prompt_finds_the_blocks_of_an_earlier_one_of_its_tenant(self):
        ids = list(range(1, 201))
        self.assertEqual(self.engine.prefix_match(0, ids, salt=7), 0)
        first = self.step(ids).numpy()
        self.engine.free(0)
        self.assertEqual(self.engine.prefix_match(1, ids, salt=8), 0)
        matched = self.engine.prefix_match(2, ids, salt=7)
        self.assertEqual(matched, 192)
        np.testing.assert_array_equal(first, self.step(ids[matched:], seq=2).numpy())
        for seq in (1, 2):
            self.engine.free(seq)
        self.assertGreater(self.engine.prefix_evict(100), 0)
        self.engine.prefix_clear()
        self.assertEqual(self.engine.prefix_match(3, ids, salt=7), 0)

    def test_a_sequence_goes_on_in_another_engine_with_the_same_bits(self):
        ids, other = prompt(), tiny().engine()
        self.step(ids)
        other.import_seq(5, self.engine.export_seq(0))
        np.testing.assert_array_equal(self.step(9).numpy(), other.step([mm2.Rows(5, 9)]).numpy())
        with self.assertRaises(ValueError):
            other.import_seq(6, b"garbage")

    def test_a_full_pool_raises_and_changes_nothing(self):
        engine = tiny().engine(kv_tokens=128, max_seqs=2)
        engine.step([mm2.Rows(0, [1] * 100)])
        with self.assertRaises(mm2.KVExhausted) as caught:
            engine.step([mm2.Rows(1, [1] * 100)])
        self.assertEqual(caught.exception.code, 1)
        self.assertEqual((engine.seq_length(0), engine.seq_length(1)), (100, 0))

    def test_a_position_that_is_not_the_end_is_refused(self):
        with self.assertRaises(mm2.InvalidArgument):
            self.engine.step([mm2.Rows(0, [1], position=5)])
        with self.assertRaises(ValueError):
            mm2.Rows(0, [1], position=-1)
        for outputs in (-1, 2, 2**31 - 1):
            with self.assertRaises(mm2.InvalidArgument):
                self.engine.step([mm2.Rows(0, [1], outputs)])

    def test_options_come_back_as_they_were_resolved(self):
        engine = tiny().engine(max_seqs=3, kv_tokens=500, kv_dtype="f32", n_threads=1)
        info = engine.info
        self.assertEqual((info.max_seqs, info.kv_tokens, info.kv_dtype, info.n_threads), (3, 512, "f32", 1))
        self.assertEqual(engine.memory().host_kv, tiny().estimate(max_seqs=3, kv_tokens=500, kv_dtype="f32", n_threads=1).host_kv)
        for wrong in ({"max_seqs": -1}, {"kv_dtype": "f64"}, {"kv_tokens": 1 << 80}):
            with self.assertRaises(ValueError, msg=wrong):
                tiny().engine(**wrong)
        with self.assertRaises(TypeError):
            tiny().engine(max_sequences=1)

    def test_rows_may_be_made_by_a_generator_that_uses_the_engine(self):
        logits = self.engine.step(mm2.Rows(i, [i + self.engine.seq_length(i)]) for i in range(3))
        self.assertEqual(len(logits), 3)
        with self.assertRaises(Exception):
            self.engine.step([(0, [1])])

    def test_row_status_tells_of_each_row(self):
        logits = self.engine.step([mm2.Rows(0, [1]), mm2.Rows(1, [2])], partial=True)
        self.assertEqual(logits.row_status, [0, 0])


class Threads(unittest.TestCase):
    def test_steps_of_several_threads_are_as_if_each_were_alone(self):
        engine, ids = tiny().engine(), prompt()
        expected = engine.generate(ids, max_tokens=12, temperature=0).ids
        answers = [None] * 6

        def work(i):
            answers[i] = engine.generate(ids, max_tokens=12, temperature=0).ids

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [expected] * 6)
        self.assertTrue(all_free(engine))

    def test_a_step_lets_other_threads_run(self):
        engine = tiny().engine(max_tokens_per_step=2048, n_threads=1, prefix_cache=False)
        ticks, stop = [], threading.Event()

        def tick():
            while not stop.is_set():
                ticks.append(time.perf_counter())
                time.sleep(0)

        def ticks_inside_of_a_step():
            begin = time.perf_counter()
            engine.step([mm2.Rows(0, [1] * 500)])
            end = time.perf_counter()
            engine.free(0)
            # A step that held the interpreter's lock would leave room for ticks at its two ends only.
            return [t for t in ticks if begin + 0.2 * (end - begin) < t < end - 0.2 * (end - begin)]

        ticker = threading.Thread(target=tick)
        ticker.start()
        # On a machine that is busy with other things the ticker may sleep through a step, but not through all of them.
        seen = any(ticks_inside_of_a_step() for _ in range(50))
        stop.set()
        ticker.join()
        self.assertTrue(seen)

    def test_interrupt_ends_the_next_step_and_changes_nothing(self):
        engine = tiny().engine()
        engine.interrupt()
        with self.assertRaises(mm2.Cancelled):
            engine.step([mm2.Rows(0, [1])])
        self.assertEqual(engine.seq_length(0), 0)
        engine.step([mm2.Rows(0, [1])])

    def test_a_cancellation_ends_only_the_steps_that_carry_it(self):
        engine, cancellation = tiny().engine(), mm2.Cancellation()
        cancellation.cancel()
        with self.assertRaises(mm2.Cancelled):
            engine.step([mm2.Rows(0, [1])], cancellation=cancellation)
        engine.step([mm2.Rows(0, [1])])


INTERRUPTED = """
import os, signal, sys, threading, time
import mm2
engine = mm2.load({tiny!r}).engine(max_tokens_per_step=2048, kv_tokens=4096, n_threads=1, activations="f32")
rows = [mm2.Rows(0, [1] * 2000)]
{handler}
begin = time.perf_counter()
engine.step(rows)
delay = (time.perf_counter() - begin) / 4
engine.free(0)
inside, result = False, "too late"
while result == "too late":  # until Ctrl-C comes during the step, which may be faster than the first was
    timer = threading.Timer(delay, lambda: inside and os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        inside = True
        engine.step(rows)
        inside = False
        result = "done" if {handled} else "too late"
    except KeyboardInterrupt:
        result = "interrupted" if inside and engine.seq_length(0) == 0 else "too late"
    inside = False
    length = engine.seq_length(0)
    engine.free(0)
    timer.join()
    delay *= 0.7
engine.step([mm2.Rows(0, [1])])  # the engine goes on
print(result, length, signal.getsignal(signal.SIGINT) is {expected})
"""


class CtrlC(unittest.TestCase):
    def run_program(self, handler, expected, handled):
        program = INTERRUPTED.format(tiny=TINY, handler=handler, expected=expected, handled=handled)
        done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_ends_a_step_before_its_end_and_leaves_everything_as_it_was(self):
        self.assertEqual(self.run_program("", "signal.default_int_handler", "False"), ["interrupted", "0", "True"])

    def test_a_handler_that_raises_nothing_lets_the_step_be_done(self):
        said = self.run_program("calls = []\nhandler = lambda *a: calls.append(a)\nsignal.signal(signal.SIGINT, handler)", "handler", "calls")
        self.assertEqual(said, ["done", "2000", "True"])


if __name__ == "__main__":
    unittest.main()
