"""Commands of robot-room, called in the tests' own process: a new one imports torch for seconds."""

import io
from contextlib import redirect_stderr, redirect_stdout

from robot_room.app.command_line import main


def command(*arguments):
    """Exit status, standard output and error of `robot-room ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(each) for each in arguments])
        except SystemExit as end:
            code = end.code or 0
    if isinstance(code, str):  # what Python prints at the end of a process
        return 1, out.getvalue(), err.getvalue() + code
    return code, out.getvalue(), err.getvalue()
