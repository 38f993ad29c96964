# SPDX-License-Identifier: MIT
#
# manual.awk - a manual page from help texts, for tools/package.sh: the program's, then each subcommand's after a line
# of a form feed and its name.

# Letters that roff would take for its own.
function escape(text)
{
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/)
        text = "\\&" text
    return text
}

# The name under which the program is installed.
function renamed(text)
{
    sub("^(usage:)? +" plain, name, text)
    return text
}

function heading(text)
{
    print ".SH " toupper(text)
    part = text
}

{
    line = $0
    if (sub(/^\f/, "", line)) {
        subcommand = line
        heading(name " " subcommand)
        next
    }
}

/^usage:/ || (/^       / && part == "synopsis") {
    if (!begun) {
        printf ".TH %s 1 \"\" \"attngrad %s\"\n", toupper(escape(name)), version
        heading("name")
        print escape(name) " \\- " escape(about)
        begun = 1
    }
    if (part != "synopsis" && !subcommand)
        heading("synopsis")
    print ".nf"
    print escape(renamed(line))
    print ".fi"
    next
}

/^$/ { blank = 1; next }

/^  [^ ]/ { # an option: its name, two blanks or the line's end, and what it does
    text = substr(line, 3)
    at = match(text, /  +/)
    print ".TP"
    print ".B " escape(at ? substr(text, 1, at - 1) : text)
    if (at)
        print escape(substr(text, at + RLENGTH))
    blank = 0
    next
}

/^   / { sub(/^ +/, "", line); print escape(line); next }

/^[a-z ]+:$/ { # options:, examples:
    sub(/:$/, "", line)
    print subcommand ? ".SS " toupper(substr(line, 1, 1)) substr(line, 2) : ".SH " toupper(line)
    blank = 0
    next
}

{
    if (part == "synopsis" && !subcommand)
        heading("description")
    else if (blank)
        print ".PP"
    print escape(line)
    blank = 0
}
