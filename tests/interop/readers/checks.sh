# Runs reader checks and counts them. To be sourced.

passed=0
failed=0
skipped=0
CHECK_TIMEOUT=300 # Seconds for one check.

# check NAME COMMAND...: one line if the command succeeds, else all that it
# printed. The exit code is the command's.
check() {
    local name=$1 out code=0
    shift
    out=$(timeout --kill-after=10 "$CHECK_TIMEOUT" "$@" 2>&1 </dev/null) || code=$?
    if ((code == 0)); then
        passed=$((passed + 1))
        # Readers may print notices first; the verdict is the last line.
        echo "ok    $name: ${out##*$'\n'}"
    else
        failed=$((failed + 1))
        echo "FAIL  $name (exit code $code)"
        sed 's/^/      /' <<<"$out"
    fi
    return "$code"
}

# skip NAME WHY
skip() {
    skipped=$((skipped + 1))
    echo "skip  $1: $2"
}

# The last line of a run, in the form that test runners count. Exit code 1 if
# a check failed, or if there was none.
report() {
    echo "$passed passed, $failed failed$( ((skipped)) && echo ", $skipped skipped")"
    ((failed == 0 && (passed > 0 || skipped > 0)))
}
