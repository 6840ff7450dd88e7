#!/bin/sh
# Sends a text to all users in a list of any size, waits for the end, and prints who was not reached:
#
#   ./campaign.sh spring-sale customers.csv.gz "Spring sale: 20 % off" >not-reached.csv
#
# Run again with the same arguments, it goes on where it was cut off. It ends with 0 if every target was sent,
# with 3 if not, and with 1 if it could not be done.
set -eu
. "$(dirname "$0")/crier.sh"
id=$1 list=$2 text=$3

# field NAME picks a plain value out of the status document.
field() { printf %s "$status" | sed -n "s/.*\"$1\":\"\{0,1\}\([a-z0-9]*\).*/\1/p"; }

# 1. A job without targets is `loading`. If it was made before, it may be further than that.
status=$(call /v1/jobs --header "Idempotency-Key: $id" --header 'Content-Type: application/json' --data "{
  \"target_type\": \"users\",
  \"msg\": {\"type\": \"txt\", \"msg\": $(quote "$text")}}")

if [ "$(field state)" = loading ]; then
  # 2. The list, read while it is sent (--data-binary would read all of it first). It is added whole or not at
  # all, and no name twice, so a list that broke off is just sent again. More lists may follow it.
  case $list in *.csv | *.csv.gz) type=text/csv ;; *.ndjson | *.ndjson.gz) type=application/x-ndjson ;; *) type=text/plain ;; esac
  case $list in *.gz) encoding=gzip ;; *) encoding=identity ;; esac
  call "/v1/jobs/$id/targets" --request POST --upload-file "$list" --retry-max-time 3600 \
    --header "Content-Type: $type" --header "Content-Encoding: $encoding" >&2

  # 3. From here on it is sent.
  call "/v1/jobs/$id/start" --request POST >/dev/null
fi

# 4. It has ended when nothing of it is pending any more.
while :; do
  status=$(call "/v1/jobs/$id")
  case $(field state):$(field pending) in finished:0 | cancelled:0) break ;; esac
  sleep 2
done
printf '%s\n' "$status" >&2
[ "$(field state):$(field sent)" != "finished:$(field total)" ] || exit 0

# 5. A row for each target that was not sent to, with the reason.
call "/v1/jobs/$id/results?outcome=failed,unknown,cancelled" --header 'Accept: text/csv'
exit 3
