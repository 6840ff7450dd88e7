# What the scripts beside it share: copy it along. It needs curl 7.71 or later.
#
# CRIER_URL is where the gateway is, CRIER_API_KEY the key that it asks for, if it asks for one.

: "${CRIER_URL:=http://127.0.0.1:8080}"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
trap 'exit 130' HUP INT TERM

# call PATH [CURL'S OPTIONS] prints the answer; or it says on standard error what was wrong, and fails.
#
# What got no answer is repeated, and so are 408, 429, 500, 502, 503 and 504, after their Retry-After if they have
# one. That is safe: jobs have an id here, under which the gateway knows them again, and it tells the targets of
# lists apart. Nothing else is repeated: a 400, 409 or 422 stays what it is. The key goes in by standard input,
# since everybody on the machine can read arguments.
call() {
  path=$1
  shift
  : >"$answer"
  status=$(printf %s "${CRIER_API_KEY:+Authorization: Bearer $CRIER_API_KEY}" |
    curl --silent --show-error --globoff --connect-timeout 5 --retry 10 --retry-all-errors --retry-max-time 60 \
      --header @- --output "$answer" --write-out '%{http_code}' "$@" "$CRIER_URL$path") || status='no answer'
  case $status in
  2??) cat "$answer" ;;
  *)
    echo "crier: $path: $status" >&2
    cat "$answer" >&2 # a problem document: its `detail` and `errors` say what is wrong
    return 1
    ;;
  esac
}

# quote TEXT prints it as a JSON string. What it leaves as it is, such as a line break, the gateway refuses.
quote() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }
