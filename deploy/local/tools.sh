#!/usr/bin/env bash
# Installs the system packages that building and running need, when they are missing and root or sudo allows.
# Otherwise it prints the one line that would. Repeating it costs nothing.
set -euo pipefail

missing=()
need() { # package, then the test that says it is there
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
command_there() { command -v "$1"; }
server_there() { compgen -G '/usr/lib/postgresql/*/bin/initdb'; }

need curl command_there curl
need gcc command_there cc
need g++ command_there c++
need make command_there make
need cmake command_there cmake
need pkg-config command_there pkg-config
need libssl-dev pkg-config --exists libssl
need zlib1g-dev pkg-config --exists zlib
need postgresql server_there
need redis-server command_there redis-server
need default-jdk-headless command_there java
need maven command_there mvn

[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get install -y --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (Debian's names); install them with this system's package manager" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    become=()
elif sudo -n true 2>/dev/null; then
    become=(sudo -n)
else
    echo "missing packages; run: sudo $install" >&2
    exit 1
fi
echo "installing ${missing[*]}"
# The packages' own servers are not wanted: the stack runs its own on its own ports, and Debian would start a cluster on 5432
# and a Redis on 6379. Whatever ran before is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee $policy >/dev/null
    "${become[@]}" chmod +x $policy
    trap '"${become[@]}" rm -f $policy' EXIT
fi
"${become[@]}" apt-get update -q
# shellcheck disable=SC2086 # the words are meant to split
"${become[@]}" env DEBIAN_FRONTEND=noninteractive $install
