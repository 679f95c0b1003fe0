#!/bin/sh
# credentials.sh FILE: writes the instance role's short-lived credentials into
# FILE, as cloister-parent hands them to the enclave. They prove the parent
# alone: without the enclave's attestation document no key policy of Cloister
# gives them anything.
set -eu
umask 077

out=${1:?usage: credentials.sh FILE}
base=${METADATA:-http://169.254.169.254}/latest

ask() { curl --fail --silent --show-error --max-time 10 --header "$1" "$2"; }

token=$(curl --fail --silent --show-error --max-time 10 --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$base/api/token")
role=$(ask "X-aws-ec2-metadata-token: $token" "$base/meta-data/iam/security-credentials/")
answer=$(ask "X-aws-ec2-metadata-token: $token" "$base/meta-data/iam/security-credentials/$role")

# The service writes one member a line; values hold neither quotes nor backslashes.
member() {
	value=$(printf '%s\n' "$answer" | sed -n "s/^ *\"$1\" *: *\"\([^\"\\\\]*\)\",\{0,1\} *\$/\1/p")
	if [ -z "$value" ]; then
		echo "credentials.sh: the instance metadata have no $1" >&2
		exit 1
	fi
	printf '%s' "$value"
}

id=$(member AccessKeyId)
secret=$(member SecretAccessKey)
session=$(member Token)
expires=$(member Expiration)
printf '{"access_key_id":"%s","secret_access_key":"%s","session_token":"%s","expires":"%s"}\n' "$id" "$secret" "$session" "$expires" >"$out.new"
mv -f "$out.new" "$out"
