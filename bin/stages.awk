# Compares what each stage was made of with what is there now; bin/stages.sh calls it. Input:
#
#   mode=table   NAME|OUTPUT|KEY=value ...|FILE ...|STAGE ...     a stage a line, from the Makefile
#   mode=hashes  SHA256 SIZE MTIME CTIME FILE                     what is known of contents
#   mode=files   SIZE MTIME CTIME FILE                            what is there
#
# A stage is made of its own settings and files and of those of all stages before it. That text is
# kept beside its output in made/NAME when the stage is made. Where contents are not known it prints
# "unknown" and the lines of mode=files that want reading; else what ask= says:
#
#   stale     names of the stages whose text is another one now
#   why       NAME|OUTPUT|what made it stale, or "up to date"
#   NAME      the text of that stage; before it "otherwise STAGE" where a stage before it is stale

mode == "table" && /[|]/ {
    sub(/^ */, "")
    split($0, part, "|")
    order[++count] = part[1]
    output[part[1]] = part[2]; keys[part[1]] = part[3]; files[part[1]] = part[4]; after[part[1]] = part[5]
}
mode == "hashes" { sha = $1; sub(/^[^ ]* /, ""); hash[$0] = sha }
mode == "files" { there = $0; sub(/^[^ ]* [^ ]* [^ ]* /, ""); stat[$0] = there }

# A file of the build folder has a name that does not say where that folder is: it can be moved.
function named(file) { return index(file, build "/") == 1 ? "BUILD" substr(file, length(build) + 1) : file }

function content(file) { return file in stat ? hash[stat[file]] : "missing" }

# Adds lines to the text of a stage, each once.
function add(s, lines,    line, n, i) {
    n = split(lines, line, "\n")
    for (i = 1; i <= n; i++)
        if (line[i] != "" && !((s, line[i]) in has)) {
            has[s, line[i]] = 1
            text[s] = text[s] line[i] "\n"
        }
}

function describe(s,    word, n, i) {
    text[s] = ""
    n = split(after[s], word, " ")
    for (i = 1; i <= n; i++) add(s, text[word[i]])
    n = split(keys[s], word, " ")
    for (i = 1; i <= n; i++) add(s, word[i])
    n = split(files[s], word, " ")
    for (i = 1; i <= n; i++) add(s, named(word[i]) " " content(word[i]))
}

function recorded(s,    file, line, all) {
    file = output[s]
    sub(/[^\/]*$/, "made/" s, file)
    while ((getline line < file) > 0) all = all line "\n"
    close(file)
    return all
}

# A line is KEY=value, or FILE SHA256: no value holds a space.
function subject(line) { sub(/[ =].*/, "", line); return line }
function is_file(line) { return line ~ / / }
function value(line) { sub(/^[^ =]*[ =]/, "", line); return line }

function difference(what, old, now) {
    if (!is_file(old now)) return what ": " (old == "" ? "not set" : value(old)) " -> " (now == "" ? "not read" : value(now))
    if (old == "") return what " is new"
    if (now == "") return what " is not read any more"
    return what (value(now) == "missing" ? " is gone" : " has changed")
}

# Whether a stage reads this itself, and not only a stage before it.
function reads(s, what) {
    sub(/^BUILD/, build, what)
    return index(" " files[s] " ", " " what " ") || index(" " keys[s], " " what "=")
}

function explain(s,    old, now, line, n, i, what, reasons, word) {
    n = split(after[s], word, " ")
    for (i = 1; i <= n; i++)
        if (recorded(word[i]) != text[word[i]]) reasons = reasons "; follows " word[i]
    n = split(recorded(s), line, "\n")
    for (i = 1; i < n; i++) old[subject(line[i])] = line[i]
    n = split(text[s], line, "\n")
    for (i = 1; i < n; i++) {
        what = subject(line[i])
        now[what] = line[i]
        if (old[what] != line[i] && (reasons !~ /follows/ || reads(s, what))) reasons = reasons "; " difference(what, old[what], line[i])
    }
    for (what in old)
        if (old[what] != "" && now[what] == "" && reasons !~ /follows/) reasons = reasons "; " difference(what, old[what], "")
    return substr(reasons, 3)
}

function reason(s) {
    if (recorded(s) == text[s]) return "up to date"
    return recorded(s) == "" ? "not made yet" : explain(s)
}

# A line for each stage before s that was not made of what it is made of now.
function made_otherwise(s,    word, n, i, lines) {
    n = split(after[s], word, " ")
    for (i = 1; i <= n; i++)
        if (recorded(word[i]) != text[word[i]]) lines = lines "otherwise " word[i] "\n"
    return lines
}

END {
    for (file in stat) if (!(stat[file] in hash)) unknown = unknown "\n" stat[file]
    if (unknown) {
        print "unknown" unknown
        exit
    }
    for (i = 1; i <= count; i++) describe(order[i])
    for (i = 1; i <= count; i++) {
        s = order[i]
        if (ask == "stale" && recorded(s) != text[s]) printf "%s ", s
        if (ask == "why") print s "|" output[s] "|" reason(s)
        if (ask == s) printf "%s", made_otherwise(s) text[s]
    }
}
