#!/bin/sh
# Installs Gantry on this machine as systemd services, from a release (the unpacked tar of `npm run bundle`, with all that
# it needs) or from a checkout (a release is made first; that takes Node 20, npm and the npm registry).
#
#   ./systemd/install.sh controller
#   echo TOKEN | ./systemd/install.sh agent --join https://HOST:51443 --ca sha256:FINGERPRINT
#   ./systemd/install.sh upgrade | uninstall [--purge] | check
#
# docs/install.md has the rest; --help too. This part is plain sh: it finds the Node that all else runs on.
set -eu

say() { printf 'gantry: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

system=$(uname -s)
[ "$system" = Linux ] || fail "a Gantry host runs Linux, and this one runs $system. Install it on a Linux host or VM."
case $(uname -m) in
  x86_64 | amd64) architecture=x86_64 ;;
  aarch64 | arm64) architecture=arm64 ;;
  *) fail "there are releases for x86_64 and arm64, and this machine is $(uname -m)." ;;
esac

release=$here
if [ ! -f "$here/release.json" ]; then
  [ -f "$here/bootstrap.mjs" ] || fail "$here is neither a release of Gantry nor a checkout: unpack the tar again."
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || fail "from a checkout, Node 20 and npm are needed
gantry: to make a release. Install them, or bring the tar of \`npm run bundle\` from a machine that has them, and run its
gantry: systemd/install.sh."
  # In a directory of its own that nobody else can write to: what is made here runs as root.
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/gantry-release-XXXXXX") || fail "no directory could be made in ${TMPDIR:-/tmp}."
  release=$scratch/release
  trap 'rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM HUP
  (cd "$here" && node bootstrap.mjs scripts/bundle.ts --tree "$release" >&2 </dev/null) || fail "no release could be made."
fi

made_for=$(sed -n 's/.*"architecture": "\(.*\)".*/\1/p' "$release/release.json")
[ "$made_for" = "$architecture" ] || fail "this release is for $made_for, and this machine is $architecture: take the
gantry: tar whose name ends in linux-$architecture.tar.gz."

LD_LIBRARY_PATH=$release/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
if ! answer=$("$release/bin/node" --version 2>&1); then
  case $answer in
    *libstdc++*) mend='install the C++ library: apt-get install libstdc++6, or dnf install libstdc++' ;;
    *GLIBC*) mend='it needs glibc 2.28 or newer: Debian 10, Ubuntu 20.04, RHEL 8 or anything since' ;;
    *'not found'*) mend='it needs a system with glibc; musl (Alpine) has no systemd either' ;;
    *'ermission denied'*) mend="unpack the release where programs may run: $release is mounted noexec, or not yours" ;;
    *) mend='unpack the tar again, and compare its size with the original' ;;
  esac
  fail "the release's Node does not run on this machine: $answer
gantry: to mend it: $mend."
fi

if [ "$release" = "$here" ]; then
  exec "$release/bin/node" "$release/scripts/install.ts" "$@"
fi
"$release/bin/node" "$release/scripts/install.ts" "$@"
