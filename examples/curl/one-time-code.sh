#!/bin/sh
# Sends a one-time code to one user, ahead of all that is bulk:
#
#   ./one-time-code.sh login-4711 u1 "Your code is 123456"
#
# The id is yours, one for each code. Who does not know whether the code went out runs the same again: the same
# id with the same content is the same job, sent once. With another text or user it is refused (409).
set -eu
. "$(dirname "$0")/crier.sh"
id=$1 user=$2 text=$3

# --max-time is for one try. What `call` prints is the status document of the job.
call /v1/jobs --max-time 10 --header "Idempotency-Key: $id" --header 'Content-Type: application/json' --data "{
  \"target_type\": \"users\",
  \"target\": [$(quote "$user")],
  \"msg\": {\"type\": \"txt\", \"msg\": $(quote "$text")},
  \"options\": {\"priority\": \"urgent\"}}" >/dev/null
echo "$id"
