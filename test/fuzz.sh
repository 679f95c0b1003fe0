#!/bin/sh
# Runs every fuzz target of the module for a few seconds each.
# Usage: test/fuzz.sh [SECONDS-PER-TARGET, default 5s]
set -eu
time=${1:-5s}
go=${GO:-go}
n=0
for file in $(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do
	dir=$(dirname "$file")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "fuzz $dir $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$dir"
		n=$((n + 1))
	done
done
echo "fuzz: $n targets, none failed"
