#!/bin/sh
# Runs every fuzz target of the module for a few seconds each.
# Usage: test/fuzz.sh [SECONDS-PER-TARGET, default 5s] [DIRECTORY, default all]
set -eu
time=${1:-5s}
under=${2:-.}
go=${GO:-go}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# one runs a target. Minimising a find may take ten tries, not a minute: a few
# seconds are all there is. Go's fuzzer sometimes ends with "context deadline
# exceeded" when its own time is over in the middle of an input; that is no
# find, which would be written to testdata, and the target runs once more.
one() {
	"$go" test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x "$1" >"$log" 2>&1 && return
	if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
		echo "fuzz $1 $2: ran out of time in the middle of an input; once more"
		"$go" test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x "$1" >"$log" 2>&1 && return
	fi
	cat "$log"
	exit 1
}

n=0
for file in $(grep -rl --include='*_test.go' '^func Fuzz' "$under" | grep -v '^./test/duckdb/' | sort); do
	dir=$(dirname "$file")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		one "$dir" "$target"
		echo "fuzz $dir $target: $(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
		n=$((n + 1))
	done
done
echo "fuzz: $n targets, none failed"
