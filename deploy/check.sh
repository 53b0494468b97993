#!/usr/bin/env bash
# Runs nginx and Caddy with the configurations in this folder in front of LMServ with the demo model, on free loopback
# ports, and prints what a client sees through each. Changes nothing outside a temporary folder and stops what it
# started. Exit code 1: a result differs from docs/security.md. 2: a program is missing.
#
#   deploy/check.sh [nginx|caddy]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
name=llm.example.lan
key=check-key-6f1c9d
slow_key=check-slow-key-0b7e
work=$(mktemp -d)
pids=()
failures=0

# Stops a process we started and waits until it is gone.
end() {
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

finish() {
  local pid
  for pid in "${pids[@]}"; do end "$pid"; done
  rm -rf "$work"
}
trap finish EXIT

say() { printf '  %-58s %s\n' "$1" "$2"; }

# expect WHAT EXPECTED SEEN: EXPECTED is a bash pattern.
expect() {
  # shellcheck disable=SC2053
  if [[ $3 == $2 ]]; then say "$1" "$3"; else
    failures=$((failures + 1))
    say "$1" "$3   << expected $2"
  fi
}

require() {
  local program missing=()
  for program in "$@"; do command -v "$program" >/dev/null || missing+=("$program"); done
  ((${#missing[@]} == 0)) && return
  echo "check.sh: not installed: ${missing[*]}. On Debian: apt-get install nginx-light caddy curl openssl" >&2
  exit 2
}

free_port() {
  node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'
}

# wait_for SECONDS COMMAND...: waits until the command succeeds.
wait_for() {
  local tries=$(($1 * 10))
  shift
  until "$@" >/dev/null 2>&1; do
    ((tries-- > 0)) || { echo "check.sh: timed out waiting for: $*" >&2; return 1; }
    sleep 0.1
  done
}

# --- LMServ

# Replies never end by themselves, and broken ones are not resumed, so that clients see the break.
start_lmserv() {
  local hash
  hash=$(printf %s "$slow_key" | sha256sum | cut -d' ' -f1)
  (umask 077 && echo "{\"keys\":[{\"name\":\"slow\",\"sha256\":\"$hash\",\"rateLimitQps\":0.1}]}" >"$work/keys.json")
  : >"$work/lmserv.log"
  # Started in a folder without a .env or a configuration file.
  cd "$work"
  HOST=127.0.0.1 PORT=0 API_KEY=$key API_KEYS_FILE=$work/keys.json DATA_DIR=$work/data \
    ALLOWED_HOSTS=$name TRUST_PROXY=loopback KEYLESS_NETWORKS=10.9.8.7 REPLY_RESUME=off SHUTDOWN_GRACE_SECS=0 \
    LLM_MODEL_PATH=$root/models/lmserv-demo.gguf LLM_WORKERS=1 LLM_SLOTS=1 LLM_THREADS=1 LLM_CTX_SIZE=65536 \
    LLM_EXTRA_ARGS=--ignore-eos MAX_TOKENS_CAP=60000 \
    node "$root/scripts/bootstrap.mjs" serve >"$work/lmserv.log" 2>&1 &
  lmserv=$!
  pids+=("$lmserv")
  wait_for 120 grep -q '"event":"worker_ready"' "$work/lmserv.log" || { cat "$work/lmserv.log" >&2; exit 1; }
  lmserv_port=$(sed -n 's/.*"event":"listening".*"port":\([0-9]*\).*/\1/p' "$work/lmserv.log")
}

worker_pid() { sed -n 's/.*"event":"worker_ready".*"pid":\([0-9]*\).*/\1/p' "$work/lmserv.log" | tail -1; }

# Prints the outcome in the last log line of a route.
outcome() { grep "\"route\":\"$1\"" "$work/lmserv.log" | tail -1 | sed 's/.*"outcome":"\([a-z]*\)".*/\1/'; }
lines_of() { grep -c "\"route\":\"$1\"" "$work/lmserv.log" || true; }
more_lines_of() { (($(lines_of "$1") > $2)); }
idle() { curl -s "http://127.0.0.1:$lmserv_port/health" | grep -q 'idle: 1'; }

# --- the proxies, each with its own ports and files instead of those in its configuration

start_nginx() {
  local folder=$work/nginx
  mkdir -p "$folder"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
    -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
  sed -e "s|listen 443|listen 127.0.0.1:$port|" -e "s|127.0.0.1:8000|127.0.0.1:$lmserv_port|" \
    -e "s|/etc/ssl/lmserv/|$folder/|" -e "s|/var/log/nginx/|$folder/|" "$here/nginx/lmserv.conf" >"$folder/lmserv.conf"
  {
    # Started by root, nginx would run its workers under another account, which cannot enter our folder.
    ((EUID != 0)) || echo "user root;"
    echo "daemon off; pid $folder/nginx.pid; error_log $folder/error.log; events {}"
    echo "http { client_body_temp_path $folder/b; proxy_temp_path $folder/p; fastcgi_temp_path $folder/f;"
    echo "uwsgi_temp_path $folder/u; scgi_temp_path $folder/s; include $folder/lmserv.conf; }"
  } >"$folder/nginx.conf"
  nginx -p "$folder" -c "$folder/nginx.conf" -e "$folder/error.log" &
  pids+=($!)
  ca=$folder/cert.pem
  foreign=421
  too_large=413
  proxy_logs=$folder
}

start_caddy() {
  local folder=$work/caddy
  mkdir -p "$folder"
  sed -e "s|127.0.0.1:8000|127.0.0.1:$lmserv_port|" \
    -e "s|^{\$|{\n\tadmin off\n\thttps_port $port\n\tdefault_bind 127.0.0.1\n\tskip_install_trust|" \
    "$here/caddy/Caddyfile" >"$folder/Caddyfile"
  XDG_DATA_HOME=$folder XDG_CONFIG_HOME=$folder caddy run --config "$folder/Caddyfile" >"$folder/caddy.log" 2>&1 &
  pids+=($!)
  ca=$folder/caddy/pki/authorities/local/root.crt
  proxy_logs=$folder
  # Caddy serves only its own names and returns an empty reply for others.
  foreign=200
  # Caddy streams the body. If LMServ refuses it early, Caddy may not get to read the reply.
  too_large='@(413|502|000|100)'
  wait_for 20 test -s "$ca"
}

# --- what a client does

# Sends the key in `as`; an empty one sends none.
web() {
  curl -sS --cacert "$ca" --resolve "$name:$port:127.0.0.1" -H "X-API-Key: ${as-$key}" \
    -H 'Content-Type: application/json' "$@"
}
# The subshell turns into curl, so that $client is the process to kill.
web_in_background() {
  : >"$work/text"
  (
    curl() { exec curl "$@"; }
    web -N "$@"
  ) >"$work/text" 2>"$work/curl" &
  client=$!
  pids+=("$client")
  wait_for 20 test -s "$work/text"
}
status() { web -o /dev/null -w '%{http_code}' "$@" 2>/dev/null || true; }
chat() { web -N "$url/chat" "$@"; }
short='{"prompt":"Name a famous Peruvian dish","max_tokens":20}'
endless='{"prompt":"Tell me a story","max_tokens":60000}'

check_answers() {
  local version
  expect 'health' '200 h2' "$(web -o /dev/null -w '%{http_code} h%{http_version}' "$url/health")"
  expect 'a wrong key' 401 "$(as=wrong status "$url/v1/models")"
  expect 'another Host than those in ALLOWED_HOSTS' "$foreign" "$(status -H 'Host: evil.example' "$url/")"
  for version in --http1.1 --http2; do
    chat $version -d "$short" -D "$work/head" >"$work/text"
    expect "/chat $version" '200 *' "$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$work/head") $(wc -c <"$work/text") bytes"
    say "/chat $version: the trailer X-Finish-Reason" \
      "$(tr -d '\r' <"$work/head" | sed -n 's/^x-finish-reason: //Ip' | grep . || echo 'is dropped')"
  done
  web -N -d '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":20,"stream":true}' \
    "$url/v1/chat/completions" >"$work/sse"
  expect '/v1/chat/completions, SSE: last line' 'data: \[DONE\]' "$(grep . "$work/sse" | tail -1)"
}

check_openai_client() {
  # shellcheck disable=SC2016
  expect 'openai for npm, streamed' '* pieces, length' "$(cd "$root" && NODE_EXTRA_CA_CERTS=$ca URL=$url PORT=$port \
    KEY=$key node --input-type=module -e '
      import dns from "node:dns";
      import OpenAI from "openai";
      // The name of the certificate is in no DNS.
      dns.lookup = (_host, options, done) =>
        options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
      const client = new OpenAI({ baseURL: `${process.env.URL}/v1`, apiKey: process.env.KEY, maxRetries: 0 });
      const stream = await client.chat.completions.create({
        model: "default", messages: [{ role: "user", content: "Hello" }], max_tokens: 20, stream: true });
      let pieces = 0, reason;
      for await (const { choices: [choice] } of stream) {
        if (choice.delta.content) pieces += 1;
        reason = choice.finish_reason ?? reason;
      }
      console.log(`${pieces} pieces, ${reason}`);' 2>&1 | tail -1)"
}

# A client that disconnects in the middle: the text it received proves that nothing is held back.
check_abort() {
  local version before client
  for version in --http1.1 --http2; do
    before=$(lines_of /chat)
    web_in_background $version -d "$endless" "$url/chat"
    end "$client"
    wait_for 10 more_lines_of /chat "$before"
    expect "a client that leaves, $version: outcome in LMServ's log" cancelled "$(outcome /chat)"
    wait_for 5 idle && say '  its slot' 'is free again'
  done
}

# break_off ROUTE BODY CURL-OPTION...: kills the worker in the middle of a reply; sets the text and curl's exit code.
break_off() {
  local route=$1 body=$2 client before worker
  shift 2
  before=$(lines_of "$route")
  worker=$(worker_pid)
  web_in_background "$@" -d "$body" "$url$route"
  kill -KILL "$worker"
  code=0
  wait "$client" || code=$?
  wait_for 10 more_lines_of "$route" "$before"
  wait_for 20 idle
}

check_break() {
  local version code
  for version in --http1.1 --http2; do
    break_off /chat "$endless" $version
    expect "a reply that breaks, /chat $version: outcome in the log" broken "$(outcome /chat)"
    expect "  curl's exit code (0 would be a whole reply)" '[1-9]*' "$code $(tail -1 "$work/curl" | cut -c1-60)"
  done
  break_off /v1/chat/completions \
    '{"messages":[{"role":"user","content":"Tell me a story"}],"max_tokens":60000,"stream":true}'
  expect '  /v1/chat/completions: last line' 'data: {"error":*' "$(grep . "$work/text" | tail -1 | cut -c1-60)"
}

# The effect of X-Forwarded-For: KEYLESS_NETWORKS is 10.9.8.7.
check_forwarded_for() {
  local forged=(-H 'X-Forwarded-For: 10.9.8.7') models=/v1/models
  expect 'no key' 401 "$(as='' status "$url$models")"
  expect 'no key and a forged X-Forwarded-For' 401 "$(as='' status "${forged[@]}" "$url$models")"
  expect '  the same past the proxy, on its machine' 200 \
    "$(curl -s -o /dev/null -w '%{http_code}' "${forged[@]}" "http://127.0.0.1:$lmserv_port$models")"
  wait_for 12 slow_key_works
  expect 'a key of 0.1 requests a second, from "elsewhere"' 429 \
    "$(as=$slow_key status -H 'X-Forwarded-For: 203.0.113.9' "$url$models")"
}
slow_key_works() { [[ $(as=$slow_key status "$url/v1/models") == 200 ]]; }

check_limits() {
  head -c 1048577 /dev/zero | tr '\0' ' ' >"$work/large"
  expect 'a body one byte over the limit' "$too_large" "$(status --http1.1 --data-binary "@$work/large" "$url/chat")"
  { printf '{"prompt":"'; head -c 1000000 /dev/zero | tr '\0' ' '; printf '","max_tokens":0}'; } >"$work/large"
  expect 'one just below it, with a wrong field' 400 "$(status --http1.1 --data-binary "@$work/large" "$url/chat")"
}

# LMServ is stopped, which proxies log at length.
check_down() {
  end "$lmserv"
  expect 'LMServ is down' 502 "$(status "$url/v1/models?key=in-query-3e8a")"
  expect "the key in the proxy's logs" 0 "$(grep -rFo "$key" "$proxy_logs" | wc -l)"
  say '  one that a client puts into the query by mistake' "$(grep -rFl in-query-3e8a "$proxy_logs" | xargs -rn1 basename |
    grep . || echo 'neither')"
  expect "the key in LMServ's log" 0 "$(grep -cF "$key" "$work/lmserv.log" || true)"
}

check() {
  port=$(free_port)
  url=https://$name:$port
  echo "$1: $("${@:2}" 2>&1 | tail -1)"
  start_lmserv
  "start_$1"
  wait_for 20 web -o /dev/null "$url/health"
  check_answers
  check_openai_client
  check_abort
  check_break
  check_forwarded_for
  check_limits
  check_down
}

proxies=("${@:-nginx}")
(($# > 0)) || proxies=(nginx caddy)
require node curl openssl sha256sum "${proxies[@]}"
node "$root/scripts/bootstrap.mjs" ready
for proxy in "${proxies[@]}"; do
  case $proxy in
    nginx) check nginx nginx -v ;;
    caddy) check caddy caddy version ;;
    *) echo "check.sh: no such proxy: $proxy" >&2; exit 2 ;;
  esac
done
((failures == 0)) || { echo "$failures not as expected" >&2; exit 1; }
