import unittest

from server import render


class Render(unittest.TestCase):
    def test_names_are_escaped(self):
        self.assertEqual(render("/?name=<b>"), (200, "<h1>Hello, &lt;b&gt;!</h1>"))

    def test_health(self):
        self.assertEqual(render("/health"), (200, "ok\n"))

    def test_others_are_not_found(self):
        self.assertEqual(render("/nothing")[0], 404)
