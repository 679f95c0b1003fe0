#!/bin/sh
# Writes or checks the dependency list of each binary: one line a module or
# standard package group, so that a new dependency shows in review.
# Usage: test/arch/depaware.sh write|check
set -eu
go=${GO:-go}
module=github.com/cloisterhq/cloister
for main in cloister cloister-parent cloister-enclave cloister-sim; do
	file=cmd/$main/depaware.txt
	list=$("$go" list -deps -f '{{if not .Standard}}{{if ne .Module.Path "'$module'"}}{{.Module.Path}}{{else}}{{.ImportPath}}{{end}}{{end}}' ./cmd/$main | sort -u)
	case $1 in
	write) printf '%s\n' "$list" >"$file" ;;
	check) printf '%s\n' "$list" | diff -u "$file" - || {
		echo "the dependency list of $main changed: run 'make depaware' and say why in the commit" >&2
		exit 1
	} ;;
	esac
done
