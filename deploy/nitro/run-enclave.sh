#!/bin/sh
# run-enclave.sh: starts one enclave with nitro-cli, stays while it runs, and
# ends it at SIGTERM. It starts nothing but the image that the reference values
# name, never in debug mode, and needs EIF, REFERENCE, MEMORY_MIB, CPUS and
# ENCLAVE_CID in its environment.
set -eu

fail() {
	echo "run-enclave.sh: $1" >&2
	exit 1
}

for name in EIF REFERENCE MEMORY_MIB CPUS ENCLAVE_CID; do
	eval "value=\${$name:-}"
	[ -n "$value" ] || fail "$name isn't set; see enclave.env"
done
for name in MEMORY_MIB CPUS ENCLAVE_CID; do
	eval "value=\$$name"
	case $value in *[!0-9]*) fail "$name isn't a number" ;; esac
done
[ -r "$EIF" ] || fail "$EIF can't be read"
[ -r "$REFERENCE" ] || fail "$REFERENCE can't be read"

# The kernel unpacks the image in the enclave's memory while the image is still
# there; nitro-cli refuses less than four times its size.
size=$(wc -c <"$EIF")
need=$(((4 * size + 1048575) / 1048576))
[ "$MEMORY_MIB" -ge "$need" ] || fail "MEMORY_MIB is $MEMORY_MIB; four times the image are $need"

# pcr NUMBER TEXT: the register's value in JSON text.
pcr() { printf '%s\n' "$2" | tr ',{' '\n\n' | sed -n "s/^ *\"\(PCR\)\{0,1\}$1\" *: *\"\([0-9a-f]\{96\}\)\".*\$/\2/p" | sed -n 1p; }

# The strict reader first: it refuses files that two readers could read
# differently. Only then may nitro-cli read the image.
strict=$(cloister eif measure -o json "$EIF") || fail "$EIF is refused"
theirs=$(nitro-cli describe-eif --eif-path "$EIF") || fail "nitro-cli refuses $EIF"
want=$(cat "$REFERENCE")
for n in 0 1 2 8; do
	value=$(pcr "$n" "$want")
	case $n in
	8) [ -n "$value" ] || continue ;;
	*) [ -n "$value" ] || fail "$REFERENCE has no PCR$n" ;;
	esac
	[ "$(pcr "$n" "$strict")" = "$value" ] || fail "PCR$n of $EIF isn't that of $REFERENCE"
	other=$(pcr "$n" "$theirs")
	[ "$other" = "$value" ] || [ "$n$other" = 8 ] || fail "nitro-cli measures another PCR$n than $REFERENCE"
done

# nitro-cli answers when the enclave has sent its heartbeat, after its own
# checks.
started=$(nitro-cli run-enclave --eif-path "$EIF" --memory "$MEMORY_MIB" --cpu-count "$CPUS" --enclave-cid "$ENCLAVE_CID")
id=$(printf '%s\n' "$started" | sed -n 's/.*"EnclaveID" *: *"\([^"]*\)".*/\1/p' | sed -n 1p)
[ -n "$id" ] || fail "nitro-cli named no enclave"
echo "run-enclave.sh: $id runs"

stop() {
	trap - TERM INT
	nitro-cli terminate-enclave --enclave-id "$id" >/dev/null || fail "$id can't be ended"
	exit 0
}
trap stop TERM INT

# The enclave is no child of this process. It restarts as a whole: when it is
# gone, this ends, and the service starts another.
while nitro-cli describe-enclaves | grep -q "\"$id\""; do
	sleep "${EVERY:-5}" &
	wait $! || true
done
fail "$id has ended"
