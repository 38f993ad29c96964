# SPDX-License-Identifier: MIT
#
# check_terminal.py PROGRAM TEXT FOLDER - what `lm train` shows on terminals of 40, 80 and 120 columns: no line that
# wraps, the course of the loss where there is room, colour and lines written over only where they are wanted; and that
# a second Ctrl-C ends the program at once.
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import time

program, text, folder = sys.argv[1:]
arguments = [program, "train", text, "--batch", "2", "--context", "16", "--layers", "1", "--heads", "2", "--emb", "16",
             "--steps", "8000", "--report", "1600", "--sample", "0", "--threads", "1"]
failed = False
signal.alarm(300)  # a program that hangs fails the check


def check(name, good, shown=b""):
    global failed
    print(("ok    terminal: " if good else "FAIL  terminal: ") + name)
    if not good:
        print(shown[-2000:])
        failed = True


def is_pending(process, number):
    """Whether the process has a signal before it that it has not taken; the step may be done before a longer wait."""
    with open(f"/proc/{process}/status") as status:
        pending = re.search(r"ShdPnd:\s*([0-9a-f]+)", status.read()).group(1)
    return int(pending, 16) >> (number - 1) & 1 == 1


def run(width, out, interrupts=0, more=(), **variables):
    """What the program writes to a terminal of this width, and its wait status."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm", "OMP_WAIT_POLICY": "passive"}
    environment.update(variables)
    child, master = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
        fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        os.execve(program, arguments + list(more) + ["--out", os.path.join(folder, out)], environment)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            part = b""
        if part == b"":
            break
        shown += part
        if interrupts > 0 and b"tok/s" in shown:
            for left in reversed(range(interrupts)):
                os.kill(child, signal.SIGINT)
                while left > 0 and is_pending(child, signal.SIGINT):  # else both may come as one
                    time.sleep(0.001)
            interrupts = 0
    os.close(master)
    return shown.decode("utf-8"), os.waitpid(child, 0)[1]


def progress_lines(shown):
    """Lines that were written over or stayed, without the terminal's commands."""
    plain = re.sub("\033\\[[0-9;]*[mK]", "", shown)
    return [line for line in re.split("[\r\n]+", plain) if re.search(r"\d/8000|^\d+% ", line)]


for width in (40, 80, 120):
    shown, status = run(width, f"wide{width}")
    lines = progress_lines(shown)
    longest = max(map(len, lines), default=0)
    check(f"{width} columns: no line wraps", status == 0 and len(lines) > 5 and longest < width, shown)
    course = re.search("[\u2581-\u2588]{8}", shown) is not None
    check(f"{width} columns: the course of the loss", course == (width > 40), shown)
shown, _ = run(80, "plain", NO_COLOR="1")
check("NO_COLOR: no colour", "\033[3" not in shown and "\033[K" in shown, shown)
shown, _ = run(80, "dumb", TERM="dumb")
check("TERM=dumb: no commands to the terminal", "\033" not in shown and len(progress_lines(shown)) == 5, shown)
shown, _ = run(80, "ascii", LANG="C")
check("a terminal without UTF-8 gets none", max(shown) < "\x7f", shown)
shown, status = run(80, "once", interrupts=1, more=["--steps", "10000000", "--report", "100"])
check("Ctrl-C saves", status == 0 and "by Ctrl-C, and saved; go on with:" in shown, shown)
shown, status = run(80, "twice", interrupts=2, more=["--steps", "10000000", "--report", "100", "--batch", "4000"])
check("a second Ctrl-C ends at once", os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT, shown)
sys.exit(failed)
