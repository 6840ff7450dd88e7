#!/bin/sh
# Uploads a picture and sends it to one user:
#
#   ./picture.sh summer-1 u1 photo.jpg
#
# The same again uploads nothing and sends nothing. The gateway takes files if it has the CHAT_* settings.
set -eu
. "$(dirname "$0")/crier.sh"
id=$1 user=$2 picture=$3

# Under the job's id the same file is uploaded once: so a repetition gets the same url, and the message keeps
# the content that belongs to the id.
file=$(call /v1/files --header "Idempotency-Key: $id" --form "file=@$(quote "$picture")")

# Of the answer, the first fields go into msg as they are: url, secret, filename and size.
fields=$(printf %s "$file" | sed 's/^{//; s/,"bytes":[0-9]*,"uploaded_at":.*//')

call /v1/jobs --header "Idempotency-Key: $id" --header 'Content-Type: application/json' --data "{
  \"target_type\": \"users\",
  \"target\": [$(quote "$user")],
  \"msg\": {\"type\": \"img\", $fields}}" >/dev/null
echo "$id"
