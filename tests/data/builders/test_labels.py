"""Which class a label is: names first, also those that are numbers; then numbers."""

import pytest

from modeling_hdf.data.builders.labels import resolve_labels, whole_number


def resolved(texts, names, base=None):
    return resolve_labels(texts, [f"line {number}" for number in range(len(texts))], names, base)


@pytest.mark.parametrize(
    "texts, names, expected",
    [
        (["0", "1", "0"], ("1", "0"), ["0", "1", "0"]),  # by name, not by index
        (["5", "0", "2"], ("0", "2", "5"), ["5", "0", "2"]),
        (["5.0", "0.0", "02"], ("0", "2", "5"), ["5", "0", "2"]),  # as pandas writes them
        (["1", "01"], ("01", "1"), ["1", "01"]),
        ([" Pain ", "NO  PAIN"], ("pain", "no pain"), ["pain", "no pain"]),
        (["joy", "happy"], ("joy", "happy"), ["joy", "happy"]),
        (["happiness", "sadness"], ("Sad", "Happy"), ["Happy", "Sad"]),
        (["cafe\u0301", "the\u0301"], ("caf\u00e9", "th\u00e9"), ["caf\u00e9", "th\u00e9"]),
        (["\u00b2", "\u00b9"], ("\u00b9", "\u00b2"), ["\u00b2", "\u00b9"]),
        (["a\u2028b", "c"], ("c", "a\u2028b"), ["a\u2028b", "c"]),
    ],
)
def test_a_label_that_is_a_name_is_that_class(texts, names, expected):
    assert resolved(texts, names) == (expected, None)


@pytest.mark.parametrize("texts, base", [(["0", "2"], 0), (["1.0", "3.0"], 1), (["01", "03"], 1)])
def test_numbers_count_classes_where_no_class_is_named_by_one(texts, base):
    assert resolved(texts, ("a", "b", "c")) == (["a", "c"], base)


@pytest.mark.parametrize(
    "texts, names, base, message",
    [
        (["0", "1"], ("0", "2", "5"), None, "line 1: unknown label '1'; the classes are 0, 2, 5"),
        (["0", "2"], ("0", "2"), 0, "`label_base` has no meaning"),
        (["\u00b2"], ("a", "b"), None, "line 0: unknown label '\u00b2'"),
        (["1.5"], ("a", "b"), None, "line 0: unknown label '1.5'"),
        (["a", "1"], ("a", "b"), None, "line 1: label '1' among labels like 'a'"),
        (["sad", "Happy"], ("joy", "happiness", "sad"), None, "line 1: label 'Happy' may be 'joy' or 'happiness'"),
        (["sad", "fear"], ("Happy", "Sad"), None, "line 1: unknown label 'fear'"),
        ([""], ("a", "b"), None, "line 0: unknown label ''"),
        (["1"], ("01", "001"), None, "line 0: label '1' may be '01' or '001'"),
    ],
)
def test_a_label_that_may_be_none_or_several_is_refused_with_its_place(texts, names, base, message):
    with pytest.raises(ValueError, match=message):
        resolved(texts, names, base)


@pytest.mark.parametrize("text, number", [("3", 3), (" 03.00 ", 3), ("-1", -1), ("+2.", 2)])
def test_numbers_are_read_however_written(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "\u00b2", "\u0663", "3.1", "1e2", "--1", "nan", "9" * 5000])
def test_what_is_no_plain_number_is_none(text):
    assert whole_number(text) is None
