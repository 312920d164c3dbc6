"""The page at /, in a real browser: what a person does, and what they see. Screenshots are left in MM2_TEST_OUTPUT."""
import os
import time
import unittest

import browser
import serving

if browser.find() is None:
    raise unittest.SkipTest("CLIENT MISSING: no Chromium is installed (apt-get install chromium)")

ANSWERED = "!running && document.querySelectorAll('.assistant .note').length"


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--max-num-seqs", 4)
        cls.browser = browser.Browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.__exit__()
        assert cls.server.end() == 0

    def setUp(self):
        self.browser.show(1280, 800)
        self.browser.open(self.server.url + "/")
        self.browser.run("localStorage.clear(), sessionStorage.clear(), fields.temperature.value = 0")
        self.browser.errors.clear()

    def tearDown(self):
        self.assertEqual(self.browser.errors, [])

    def shot(self, name):
        folder = os.environ.get("MM2_TEST_OUTPUT")
        if folder:
            self.browser.screenshot(os.path.join(folder, f"page-{name}.png"))

    def ask(self, text):
        answered = self.browser.run(ANSWERED) or 0
        self.browser.run(f"input.value = {text!r}, document.getElementById('compose').requestSubmit()")
        self.browser.wait_for(f"({ANSWERED}) > {answered}")

    def text(self, selector):
        return self.browser.run(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)")

    def test_it_names_the_model(self):
        self.browser.wait_for("document.getElementById('model').textContent.includes('mm2-tiny')")
        self.shot("empty")

    def test_it_fetches_nothing_from_elsewhere(self):
        html = self.server.request("GET", "/")[2].decode()
        for word in (" src=", "@import", "<link rel=\"stylesheet\"", "url("):
            self.assertNotIn(word, html)
        names = self.browser.run("performance.getEntriesByType('resource').map(e => new URL(e.name).origin)")
        self.assertLessEqual(set(names), {self.server.url})

    def test_a_question_is_answered_with_its_reasoning_folded(self):
        self.ask("What is 47 + 38?")
        self.assertEqual(self.text(".user .body"), ["What is 47 + 38?"])
        self.assertEqual(self.text(".assistant .body"), ["47 + 38 = 85"])
        self.assertIn("Ones: 7 + 8 = 15", self.text("details.reasoning div")[0])
        self.assertFalse(self.browser.run("document.querySelector('details.reasoning').open"))
        self.assertRegex(self.text(".note")[0], r"^\d+ tokens \u00b7 [\d.]+ tok/s \u00b7 first after \d+ ms")
        self.ask("And 47 + 39?")
        self.assertEqual(len(self.text(".assistant .body")), 2)
        self.shot("answer")

    def test_a_tool_call_is_drawn_and_can_be_answered(self):
        self.browser.run("document.querySelector('.ideas [data-tools]').click()")
        self.browser.wait_for("!!document.querySelector('.reply')")
        self.assertEqual(self.text(".call .head"), ["get_weather"])
        self.assertEqual(self.text(".call td"), ["city", "Paris"])
        self.browser.run("document.querySelector('.reply input').value = '21\u00b0C, sunny', document.querySelector('.reply').requestSubmit()")
        self.browser.wait_for(f"({ANSWERED}) > 1")
        self.assertIn("sunny", self.text(".assistant .body")[-1])
        self.shot("tool")

    def test_stop_stops(self):
        self.browser.run("window.unchanged = requestBody, requestBody = () => ({...unchanged(), ignore_eos: true, temperature: 1})")
        self.browser.run("input.value = 'Tell me a story about a fox.', document.getElementById('compose').requestSubmit()")
        self.browser.wait_for("!!document.querySelector('.assistant .body')")
        self.browser.run("document.getElementById('stop').click()")
        self.browser.wait_for(ANSWERED)
        self.assertIn("stopped", self.text(".note")[0])
        self.server.wait_until_idle(5)
        self.browser.run("requestBody = unchanged")  # an answer that ends by itself
        self.ask("Hi!")

    def test_markup_of_the_model_stays_text(self):
        self.browser.run("draw(log.appendChild(make('div', 'assistant')), '<img src=x onerror=fail()> `a<b` **bold**\\n\\n```html\\n<script>fail()</script>\\n```')")
        self.assertEqual(self.browser.run("document.querySelectorAll('#log img, #log script').length"), 0)
        self.assertEqual(self.text("#log code"), ["a<b", "<script>fail()</script>"])

    def test_an_error_is_shown_in_the_servers_words(self):
        self.browser.run("fields.max_tokens.value = 99999")
        self.ask("Hi!")
        self.assertIn("99999 more were asked for", self.text(".error")[0])
        self.browser.errors.clear()  # the browser logs the 400 as well

    def test_the_panel_shows_what_the_engine_does(self):
        self.browser.run("document.getElementById('engine').hidden && document.getElementById('toggle-engine').click()")
        self.ask("Tell me a short story about a fox named Lila.")
        self.browser.wait_for("!!heat && document.getElementById('totals').textContent.includes('Kernels')")
        self.assertEqual(self.browser.run("[heat.length, heat[0].length]"), [4, 16])
        colors = self.browser.run("(() => { const c = document.getElementById('heat'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, s = new Set();"
                                  " for (let i = 0; i < d.length; i += 4) s.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return s.size })()")
        self.assertGreater(colors, 10)
        time.sleep(1.2)
        self.shot("engine")
        self.browser.show(1280, 800, dark=True)
        self.browser.run("drawHeat(), drawSpeed()")
        self.shot("engine-dark")

    def test_it_fits_a_phone(self):
        self.browser.show(390, 780, scale=2, mobile=True)
        self.browser.open(self.server.url + "/")
        self.browser.run("fields.temperature.value = 0")
        self.ask("What is 47 + 38?")
        self.assertLessEqual(self.browser.run("document.documentElement.scrollWidth"), 390)
        self.shot("phone")
        self.browser.run("document.getElementById('toggle-engine').click()")
        self.browser.wait_for("!!heat")
        self.assertLessEqual(self.browser.run("document.documentElement.scrollWidth"), 390)
        self.shot("phone-engine")
        self.browser.run("document.getElementById('toggle-engine').click(), document.getElementById('settings').showModal()")
        self.shot("phone-settings")


if __name__ == "__main__":
    unittest.main()
