"""Unit files as systemd reads them: lines, words, command lines, system call filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.errors import VerisealError
from veriseal.unit import command, filters, syntax
from veriseal.unit.syntax import Assignment

pytestmark = pytest.mark.unit


def read(text: str) -> list[tuple[str, str, str]]:
    return [one[:3] for one in syntax.parse(text.encode(), "/u")]


def test_sections_comments_blanks() -> None:
    text = "\ufeff# c\n\n[Unit]\n;c\n  Description = a = b \n\t# c\n[Service]\nExecStart=\nType=x"
    assert read(text) == [
        ("Unit", "Description", "a = b"),
        ("Service", "ExecStart", ""),
        ("Service", "Type", "x"),
    ]


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("a\\\n b", "a  b"),
        ("a\\\n# a comment between\n;another \\\nb", "a b"),
        ("a\\\n\nB=c", "a"),
        ("a\\\\\nB=c", "a\\\\"),
        ("a\\\\\\\nb", "a\\\\ b"),
        ("a\\", "a"),
        ("\\\n  a", "a"),
    ],
)
def test_continuation(lines: str, value: str) -> None:
    assert read(f"[Service]\nA={lines}")[0] == ("Service", "A", value)


def test_each_assignment_knows_the_line_on_which_it_ends() -> None:
    parsed = syntax.parse(b"[A]\nB=1\\\n2\nC=3\n", "/p")
    assert [(one.key, one.path, one.line) for one in parsed] == [("B", "/p", 3), ("C", "/p", 4)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"A=b\n", "before the first section"),
        (b"[Service]\nfoo\n", "line 2: neither a section nor an assignment"),
        (b"[Service]\n=foo\n", "neither"),
        (b"[Service\n", "not a section header"),
        (b"[]\n", "not a section header"),
        (b"[A]\nB=\xff\n", "not UTF-8 at byte 6"),
        (b"[A]\r\nB=1\r\n", "carriage return"),
        (b"[A]\nB=\0\n", "NUL"),
        ("[A]\nB=\ufdd0\n".encode(), "noncharacter"),
        ("[A]\n\ufeffB=1\n".encode(), "byte order mark"),
        ("\ufeff\ufeff[A]\n".encode(), "byte order mark"),
        (b"#" * (syntax.MAX_SIZE + 1), "larger than"),
    ],
)
def test_what_systemd_would_pass_over_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(VerisealError, match=words) as caught:
        syntax.parse(data, "/u")
    assert caught.value.reason == "bad-unit"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", []),
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ("a'b c'd", ["ab cd"]),
        ("\"it's\" '\"'", ["it's", '"']),
        (r"a\sb \x41\x2f \101 \u00fc \U0001F600", ["a b", "A/", "A", "ü", "😀"]),
        (r"\xc3\xbc", ["ü"]),
        (r"\"a\" \\ '\''", ['"a"', "\\", "'"]),
        ("''", [""]),
    ],
)
def test_words(value: str, words: list[str]) -> None:
    assert [syntax.unquote(word.text) for word in syntax.split(value)] == words


@pytest.mark.parametrize("value", ["'a", 'a"b', "a\\", "'a\\'"])
def test_unbalanced(value: str) -> None:
    with pytest.raises(ValueError):
        list(syntax.split(value))


@pytest.mark.parametrize(
    "text", [r"\q", r"\x4", r"\xg0", r"\0", r"\000", r"\400", r"\ud800", r"\xff", r"\U00110000"]
)
def test_escapes_that_stand_for_nothing(text: str) -> None:
    with pytest.raises(ValueError):
        syntax.unquote(text)


@given(st.text())
def test_any_text_is_words_or_an_error(value: str) -> None:
    try:
        words = list(syntax.split(value))
    except ValueError:
        return
    assert all(value[word.start : word.end] == word.text != "" for word in words)
    assert all(a.end < b.start for a, b in zip(words, words[1:], strict=False))
    for word in words:
        try:
            syntax.unquote(word.text)
        except ValueError:
            pass


@given(st.binary())
def test_any_bytes_are_assignments_or_an_error(data: bytes) -> None:
    try:
        assert all(one.key and one.section for one in syntax.parse(data, "/u"))
    except VerisealError:
        pass


# Command lines


def at(value: str, key: str = "ExecStart") -> Assignment:
    return Assignment("Service", key, value, "/u", 7)


def wrapped(value: str) -> list[str]:
    """Each command of a line, wrapped; programs that are only named are in /found."""
    commands = command.parse(at(value))
    return [command.wrap(one, lambda name, _: f"/found/{name}") for one in commands]


V = "/usr/bin/veriseal exec"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/bin/a", f"{V} /bin/a"),
        ("/bin/a -x  'y z' $FOO ${BAR} %i", f"{V} /bin/a -x  'y z' $FOO ${{BAR}} %i"),
        ("a b", f"{V} /found/a b"),
        ("-/bin/a", f"-{V} /bin/a"),
        (":/bin/a$b", f":{V} /bin/a$b"),
        ("+/bin/a", f"+{V} /bin/a"),
        ("!/bin/a", f"!{V} /bin/a"),
        ("!!/bin/a", f"!!{V} /bin/a"),
        ("-:!!/bin/a", f"-:!!{V} /bin/a"),
        ("!-!/bin/a", f"!-!{V} /bin/a"),
        ("@/bin/a name", f"{V} --argv0 name /bin/a"),
        ("-@/bin/a '-na me' x  y", f"-{V} --argv0 '-na me' /bin/a x  y"),
        ("@-/bin/a ${N}", f"-{V} --argv0 ${{N}} /bin/a"),
        ("@:/bin/a $N", f":{V} --argv0 $N /bin/a"),
        ("@/bin/a $$N", f"{V} --argv0 $$N /bin/a"),
        (r"@/bin/a \; x", rf"{V} --argv0 \; /bin/a x"),
        ('"/bin/a b" c', f'{V} "/bin/a b" c'),
        ('"-/bin/a b" c', f'-{V} "/bin/a b" c'),
        (r"/bin/a\sb", f'{V} "/bin/a b"'),
        (r"/bin/\x61", f"{V} /bin/a"),
        ("'/bin'/a", f"{V} /bin/a"),
        ("/opt/%i/a", f"{V} /opt/%i/a"),
        ("%h/bin/a", f"{V} %h/bin/a"),
        (":%f", f":{V} %f"),
        (":/bin/%I", f":{V} /bin/%I"),
        ("/bin/%%I", f"{V} /bin/%%I"),
        (r'/bin/a "\;" \; ";"', rf'{V} /bin/a "\;" \; ";"'),
        (f"{V} /bin/a b", f"{V} /bin/a b"),
        (f"-{V} --argv0 x /bin/a", f"-{V} --argv0 x /bin/a"),
        ("@/usr/bin/veriseal v exec /bin/a", "@/usr/bin/veriseal v exec /bin/a"),
        ("/usr/bin/veriseal status", f"{V} /usr/bin/veriseal status"),
    ],
)
def test_one_command(value: str, expected: str) -> None:
    assert wrapped(value) == [expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/a x ; /b y", ["/a x", "/b y"]),
        ("/a ; -/b", ["/a", "-/b"]),
        ("; /a ;; /b ;", ["/a ;; /b"]),
        ("/a ; ; /b ;", ["/a", "/b"]),
        (r"/a \; /b", [r"/a \; /b"]),
        ("/a x; /b", ["/a x; /b"]),
    ],
)
def test_several_commands(value: str, expected: list[str]) -> None:
    words = [one.replace("-/", f"-{V} /") if one[0] == "-" else f"{V} {one}" for one in expected]
    assert wrapped(value) == words


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("|/bin/a", "its prefix | runs it by a shell"),
        ("-|/bin/a", "its prefix | runs it by a shell"),
        ("--/bin/a", "do not go together"),
        ("@@/bin/a n", "do not go together"),
        ("+!/bin/a", "do not go together"),
        ("!+/bin/a", "do not go together"),
        ("!!!/bin/a", "do not go together"),
        ("!!+/bin/a", "do not go together"),
        ("-", "no program"),
        ("''", "no program"),
        ("@/bin/a", "the name for the program is missing"),
        ("@/bin/a ; /b", "the name for the program is missing"),
        ("@/bin/a $N", "several words"),
        ('@/bin/a "$N"', "several words"),
        (r"@/bin/a \q", "unknown escape"),
        ("/bin/a$b", "would be expanded"),
        ("/bin/%I", "an instance may stand for a $"),
        ("/bin/%%%P", "an instance may stand for a $"),
        ("%f", "an instance may stand for a $"),
        ("/bin/", "a directory"),
        ("..", "a directory"),
        ("bin/a", "neither an absolute path"),
        ("./a", "neither an absolute path"),
        ("%i", "neither an absolute path"),
        ("a%i", "neither an absolute path"),
        ("^/bin/a", "neither an absolute path"),
        (r"/bin/\x22", "no path of a program"),
        (r"/bin/\t", "no path of a program"),
        (r"/bin/\\", "no path of a program"),
        (r"/bin/\q", "unknown escape"),
        ("/bin/a 'b", "is not closed"),
        ("a" * 256, "too long"),
        ("/a" * 2048, "too long"),
    ],
)
def test_refused_commands(value: str, problem: str) -> None:
    with pytest.raises(VerisealError) as caught:
        wrapped(value)
    assert caught.value.reason == "bad-command"
    assert problem in caught.value.problem
    assert caught.value.problem.startswith("line 7: ExecStart=: ")
    assert caught.value.remedy


@given(st.text(alphabet="-@:+!|/ab $%;'\"\\ {}xsn"))
def test_wrapping_what_is_wrapped_changes_nothing(value: str) -> None:
    try:
        once = wrapped(value)
    except VerisealError:
        return
    assert [again for line in once for again in wrapped(line)] == once


def test_an_empty_value_resets_a_list_and_only_in_its_section() -> None:
    text = b"[Service]\nA=1\nA=\nA=2\n[Unit]\nA=\nA=3\n[Service]\nA=4\n"
    found = command.effective(syntax.parse(text, "/u"), "A")
    assert [one.value for one in found] == ["2", "4"]


# System call filters


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["@system-service"],
        ["@system-service", "~@privileged @resources"],
        ["~@privileged @resources @clock:EPERM"],
        ["~execve"],
        ["~@process", "execveat"],
        ["@basic-io @file-system", "@process", "@signal ioctl mremap uname"],
        [" ".join(filters.NEEDED)],
        ["@known"],
    ],
)
def test_filters_that_leave_the_launcher_what_it_needs(values: list[str]) -> None:
    assert filters.missing([at(value, "SystemCallFilter") for value in values]) is None


@pytest.mark.parametrize(
    ("values", "last", "names"),
    [
        (["~@process"], "~@process", ["execveat"]),
        (["~@mount", "~ioctl execveat:EPERM"], "~ioctl execveat:EPERM", ["execveat", "ioctl"]),
        (["@system-service", "~execveat"], "~execveat", ["execveat"]),
        (["@basic-io @file-system @signal ioctl mremap uname"], None, ["execveat"]),
        (["@system-service", "~@basic-io", "read"], "read", ["close", "lseek", "pread64", "write"]),
    ],
)
def test_filters_that_do_not(values: list[str], last: str | None, names: list[str]) -> None:
    found = filters.missing([at(value, "SystemCallFilter") for value in values])
    assert found is not None
    assert found[0].value == (values[0] if last is None else last)
    assert found[1] == names
