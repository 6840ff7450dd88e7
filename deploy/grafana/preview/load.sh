#!/bin/sh
# Runs Crier for twenty minutes under a load that shows something, and then draws both boards:
#
#   npm ci && ./load.sh
#
# A campaign that fills the quota, groups, one-time codes all the while, and on top what happens in a year: a quota
# that is halved, an API that is away, answers that are lost, a worker that dies. Needs go, redis-server, prometheus,
# curl, node and chromium. Everything listens on loopback, from PORT on, and is ended at the end.
# With MINUTE=6 a minute takes six seconds: to try the script itself. What Prometheus has stays in DIR (kept if given).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
PORT=${PORT:-27700} MINUTE=${MINUTE:-60} SCRAPE=${SCRAPE:-5}
dir=${DIR:-$(mktemp -d)}
mkdir -p "$dir/bin" "$dir/redis"
redis=$PORT sim=$((PORT + 1)) gateway=$((PORT + 2)) prometheus=$((PORT + 3)) worker1=$((PORT + 4)) worker2=$((PORT + 5))
export REDIS_URL="redis://127.0.0.1:$redis/0" LOG_FORMAT=json LOG_LEVEL=warn
export CHAT_ORG=chat-demo CHAT_APP=testapp CHAT_CLIENT_ID=demo-client CHAT_CLIENT_SECRET=demo-secret
export CHAT_URL="http://127.0.0.1:$sim" CHAT_QUOTA='users=100/s,60000t/m;chatgroups=20/s,20t/s'

pids=
finish() {
  for pid in $pids; do kill "$pid" 2>/dev/null || :; done
  wait
  [ -n "${DIR:-}" ] || rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND... leaves the pid in $started.
start() {
  name=$1
  shift
  "$@" >>"$dir/$name.out" 2>>"$dir/$name.log" &
  started=$!
  pids="$pids $started"
}

# reach NAME PID COMMAND... waits until the command succeeds, and fails if the process has ended (its port was taken, perhaps).
reach() {
  name=$1 pid=$2
  shift 2
  while sleep 0.3; do
    kill -0 "$pid" 2>/dev/null || { cat "$dir/$name.log" "$dir/$name.out" >&2; exit 1; }
    ! "$@" >/dev/null 2>&1 || return 0
  done
}

# at MINUTES waits until so many have passed since the beginning.
at() {
  rest=$(($(awk "BEGIN {print int($1 * $MINUTE)}") + begun - $(date +%s)))
  [ "$rest" -le 0 ] || sleep "$rest"
}

# api QUOTA FAULTS starts the Chat API anew.
api() {
  [ -z "${api:-}" ] || { kill "$api" && wait "$api" || :; }
  start chatsim "$dir/bin/chatsim" --listen "127.0.0.1:$sim" --no-journal --latency 30ms --jitter 80ms --token-ttl 3m \
    --refused "$(seq -s , -f 'user%07.0f' 700 2900 800000)" --quota "$1" --faults "$2"
  api=$started
}

worker() {
  start "$1" env ADMIN_ADDR="127.0.0.1:$2" "$dir/bin/worker"
  worker=$started
  reach "$1" "$started" curl -sf "http://127.0.0.1:$2/healthz"
}

# send ID TARGETS OPTIONS... makes a job of the names on standard input.
send() {
  id=$1
  shift
  "$dir/bin/enqueue" send --id "$id" --targets - --type txt --text "Hello from $id" "$@" >>"$dir/enqueue.out" 2>>"$dir/enqueue.log"
}

# codes sends one-time codes over HTTP, a few by the raw queue, and now and then something that is no valid job.
codes() {
  n=0
  while :; do
    n=$((n + 1))
    curl -s -o /dev/null --max-time 10 "http://127.0.0.1:$gateway/v1/jobs" -H "Idempotency-Key: login-$n" -d "{\"target_type\": \"users\",
      \"target\": [\"caller$n\"], \"msg\": {\"type\": \"txt\", \"msg\": \"Your code is 123456\"}, \"options\": {\"priority\": \"urgent\"}}" || :
    [ $((n % 8)) -ne 0 ] || "$dir/bin/asynq" -id "raw-$n" -user "caller$n" >/dev/null || :
    [ $((n % 5)) -ne 0 ] || curl -s -o /dev/null "http://127.0.0.1:$gateway/v1/jobs/login-$n" || :
    [ $((n % 90)) -ne 0 ] || "$dir/bin/asynq" -id "wrong-$n" -user "" >/dev/null || :
    [ $((n % 70)) -ne 0 ] || curl -s -o /dev/null "http://127.0.0.1:$gateway/v1/jobs" -d '{"target_type": "users"' || :
    sleep 0.4
  done
}

(cd "$root" && go build -o "$dir/bin/" ./cmd/worker ./cmd/enqueue ./cmd/chatsim ./examples/asynq)
start redis redis-server --port "$redis" --bind 127.0.0.1 --dir "$dir/redis" --appendonly yes --save "60 1000" \
  --maxmemory 128mb --maxmemory-policy noeviction
reach redis "$started" redis-cli -p "$redis" ping
normal='users=100/s,60000t/m;chatgroups=20/s,20t/s'
noise='throttle=0.3,error=0.2,slow=0.5:delay=700ms'
api "$normal" "$noise"
start gateway "$dir/bin/enqueue" serve --listen "127.0.0.1:$gateway"
reach gateway "$started" curl -sf "http://127.0.0.1:$gateway/healthz"
worker worker1 "$worker1"
worker worker2 "$worker2"
cat >"$dir/prometheus.yml" <<EOF
global: {scrape_interval: ${SCRAPE}s}
scrape_configs:
  - job_name: crier-worker
    static_configs:
      - {targets: ["127.0.0.1:$worker1"], labels: {instance: "worker-1:9464"}}
      - {targets: ["127.0.0.1:$worker2"], labels: {instance: "worker-2:9464"}}
  - job_name: crier-gateway
    static_configs: [{targets: ["127.0.0.1:$gateway"], labels: {instance: "gateway-1:8080"}}]
EOF
start prometheus prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" --web.listen-address="127.0.0.1:$prometheus"
reach prometheus "$started" curl -sf "http://127.0.0.1:$prometheus/-/ready"

begun=$(date +%s)
codes &
pids="$pids $!"
at 0.5
seq -f 'user%07.0f' 960000 | send spring-sale --name 'Spring sale'
at 2
seq 8000001 8016000 | send groups --target-type chatgroups --on-unknown hold
at 3
seq -f 'user%07.0f' 50000 | send newsletter
"$dir/bin/enqueue" pause newsletter
at 4
seq -f 'user%07.0f' 200000 | send flash --weight 4 --expires-at "$(date -u -d "+$((MINUTE * 4)) seconds" +%FT%TZ)"
seq -f 'user%07.0f' 1000 | send tomorrow --send-at "$(date -u -d '+1 day' +%FT%TZ)"
at 7 # what the API takes is halved
api 'users=50/s,30000t/m;chatgroups=20/s,20t/s' "$noise,reach_limit=4"
at 10
api "$normal" "$noise"
at 11.5 # the API is away
kill "$api" && wait "$api" || :
api=
at 12.5
api "$normal" "$noise"
at 14 # answers are lost
api "$normal" "$noise,reset_after=6"
at 15.2
api "$normal" "$noise"
at 16 # a worker dies, and comes back
kill -9 "$worker"
at 17
worker worker2 "$worker2"
"$dir/bin/enqueue" resume newsletter
at 18
seq -f 'user%07.0f' 30000 | send mistaken
at 18.5
"$dir/bin/enqueue" cancel mistaken
at 20

date +%s >"$dir/end"
for board in delivery runtime; do
  node "$here/picture.mjs" --prometheus "http://127.0.0.1:$prometheus" --end "$(cat "$dir/end")" --minutes 20 --scrape "$SCRAPE" \
    "$here/../dashboards/$board.json" "$root/docs/pictures/$board.png"
done
