# SPDX-License-Identifier: MIT
#
# mutants.awk - reads mutants.def. mode=check: whether every fault can be planted; mode=list: the names that have `only`
# in them or in their group's; mode=needs: which tests the mutants in the file `asked` need, each behind how kernels are
# compiled for it, -O1 or -O0; mode=field: the text of `key_wanted` of the mutant `wanted`; mode=apply: the file of
# `wanted` with its fault; mode=entry: that, and what must find it; mode=table: the kill table in Markdown, of the
# results in the files <results>/<name>.

function fail(message)
{
    print "mutants: " message > "/dev/stderr"
    failed = 1
}

function add(name, key, text)
{
    field[name, key, ++count[name, key]] = text
}

function one(name, key)
{
    return field[name, key, 1]
}

# ---- the source files ----

function contents(file,    line, text)
{
    if (!(file in source)) {
        text = ""
        while ((getline line < file) > 0)
            text = text line "\n"
        close(file)
        source[file] = text
    }
    return source[file]
}

# Where `part` begins in text, which must have it once; 0 after an error.
function only_place(name, text, part, file,    at)
{
    at = index(text, part)
    if (at == 0)
        fail("mutant " name ": its text is not in " file ": " part)
    else if (index(substr(text, at + 1), part) > 0) {
        fail("mutant " name ": its text is more than once in " file ": " part)
        at = 0
    }
    return at
}

# The file with the mutant's changes; "" after an error. An anchor stands once in the file, and the change is the
# first of its text behind it; without one the text stands once.
function mutated(name,    file, text, i, anchor, start, at, old)
{
    file = one(name, "in")
    text = contents(file)
    if (text == "") {
        fail("mutant " name ": there is no file " file)
        return ""
    }
    for (i = 1; i <= count[name, "old"]; i++) {
        old = field[name, "old", i]
        anchor = field[name, "after", i]
        if (anchor == "") {
            at = only_place(name, text, old, file)
        } else {
            start = only_place(name, text, anchor, file)
            at = start > 0 ? index(substr(text, start), old) : 0
            if (start > 0 && at == 0)
                fail("mutant " name ": its text is not in " file " behind " anchor ": " old)
            at = at > 0 ? start + at - 1 : 0
        }
        if (at == 0)
            return ""
        text = substr(text, 1, at - 1) field[name, "new", i] substr(text, at + length(old))
    }
    return text
}

# Whether `test` is one that tests/mutants.sh can run.
function is_test(test)
{
    sub("/[a-z]*$", "", test)
    if (test ~ /^check_[a-z_]*\.sh$/)
        return contents("tests/examples/" test) != ""
    return test == "gradcheck--all" || index(contents("tests/suites.def"), "SUITE(" test ")\n") > 0
}

# ---- the table ----

# A line of it, for a mutant that was planted; with the group's heading before the first of a group.
function row(name,    line, part)
{
    if ((getline line < (results "/" name)) <= 0)
        return
    close(results "/" name)
    split(line, part, "|")
    if (group_of[name] != shown) {
        shown = group_of[name]
        printf "\n## %s\n\n| fault | in | caught by | explained as |\n|---|---|---|---|\n", shown
    }
    printf "| %s | `%s` | %s | %s |\n", one(name, "is"), one(name, "in"), part[2], part[3]
}

# ---- reading mutants.def ----

/^#/ || /^[ \t]*$/ { next }
{
    key = $1
    text = $0
    sub(/^[ \t]*[a-z]+[ \t]*/, "", text)
    if (key == "group") {
        group = text
    } else if (key == "mutant") {
        name = text
        if (name in group_of)
            fail("two mutants are called " name)
        names[++total] = name
        group_of[name] = group
    } else if (key == "after") {
        anchor = text
    } else if (key == "old") {
        add(name, "old", text)
        field[name, "after", count[name, "old"]] = anchor
        anchor = ""
    } else if (key ~ /^(is|in|new|kill|explain)$/) {
        add(name, key, text)
    } else {
        fail("line " NR ": unknown word " key)
    }
}

END {
    for (i = 1; i <= total && mode == "check"; i++) {
        name = names[i]
        if (count[name, "is"] != 1 || count[name, "in"] != 1 || count[name, "kill"] != 1 || count[name, "old"] < 1 ||
            count[name, "old"] != count[name, "new"] || count[name, "explain"] > 1)
            fail("mutant " name " wants one is, in and kill, and pairs of old and new")
        else if (mutated(name) == contents(one(name, "in")))
            fail("mutant " name " changes nothing")
        for (t = split(one(name, "kill"), test, " "); t > 0; t--)
            if (!is_test(test[t]))
                fail("mutant " name ": there is no test " test[t])
    }
    for (i = 1; i <= total && mode == "list"; i++)
        if (only == "" || index(names[i], only) > 0 || index(group_of[names[i]], only) > 0)
            print names[i]
    while (mode == "needs" && (getline name < asked) > 0) {
        kernels = one(name, "in") ~ /^tensor\/kernels\// ? "-O0 " : "-O1 "
        for (t = split(one(name, "kill"), test, " "); t > 0; t--)
            print kernels test[t]
        if (count[name, "explain"] > 0)
            print kernels "gradcheck--all"
    }
    if (mode == "entry")
        for (i = 1; i <= split("in kill explain", part, " "); i++)
            print one(wanted, part[i])
    if (mode == "apply" || mode == "entry")
        printf "%s", mutated(wanted)
    for (i = 1; mode == "field" && i <= count[wanted, key_wanted]; i++)
        print field[wanted, key_wanted, i]
    for (i = 1; i <= total && mode == "table"; i++)
        row(names[i])
    if (mode == "check" && !failed)
        print "mutants: " total " faults, each at its place"
    exit failed
}
