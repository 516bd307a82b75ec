"""Every flag of fairseq's has a row, and the documentation shows them."""

import document
import inventory


def test_every_flag_is_shown():
    assert not inventory.asked() - inventory.shown()


def test_nothing_is_left_to_elsewhere_that_is_not_asked():
    named = set(" ".join(inventory.ELSEWHERE).split())
    assert named <= inventory.asked()


def test_the_document_shows_the_rows():
    """tests/contract/document.py writes it."""
    assert document.DOCUMENT.read_text(encoding="utf-8") == document.text()
