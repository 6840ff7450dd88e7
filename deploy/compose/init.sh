#!/bin/sh
# What the service `init` does before the others start: it makes the API keys if there are none, and sees to it that
# a trial never sends to a real app, nor a real stack to the simulator.
#
#   init.sh        do that
#   init.sh key    print the key for clients of the gateway
set -eu
cd "${KEYS:-/data}"

key() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
refuse() {
  printf 'crier: nothing is started: %s\n' "$*" >&2
  exit 1
}

if [ "${1:-}" = key ]; then
  head -n 1 api-keys
  exit
fi

# The first key is for clients, the second for Prometheus, which is shown a copy of that one alone. A file is there
# whole or not at all.
umask 022
metrics=${METRICS:-/tmp}
if [ -z "$(sed -n 2p api-keys 2>/dev/null)" ]; then
  printf '%s\n%s\n' "$(key)" "$(key)" >api-keys.new
  mv api-keys.new api-keys
fi
sed -n 2p api-keys | tr -d '\n' >"$metrics/metrics-key.new"
mv "$metrics/metrics-key.new" "$metrics/metrics-key"

given='' missing=''
for name in CHAT_URL CHAT_ORG CHAT_APP CHAT_CLIENT_ID CHAT_CLIENT_SECRET_FILE; do
  eval "value=\${$name:-}"
  if [ -n "$value" ]; then given="$given $name"; else missing="$missing $name"; fi
done
found=0
timeout 3 wget -q -O /dev/null "${CHATSIM_URL:-http://chatsim:8090}/_sim/stats" 2>/dev/null || found=$?
case $found in
  0) sandbox=yes ;;
  12[67] | 139) refuse 'the image of this service has no wget that works' ;;
  *) sandbox=no ;;
esac

case $sandbox:${given:+some}:${missing:+some} in
  no:some:) echo "crier: the workers send to $CHAT_ORG/$CHAT_APP at $CHAT_URL" ;;
  no::*) refuse 'no Chat API is set. To send, copy .env.example to .env and fill it in; to try, add: --profile sandbox' ;;
  no:*) refuse "missing settings:$missing" ;;
  yes::*) echo 'crier: a trial: the workers send to the simulator' ;;
  yes:*) refuse "the simulator runs, but these settings are for a real app:$given." \
    'To send, end the simulator: docker compose rm --stop --force chatsim; to try, take them away' ;;
esac
