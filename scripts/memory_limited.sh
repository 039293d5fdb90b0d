#!/usr/bin/env bash
# Runs a command in a memory cgroup of its own, page cache counted, swap forbidden.
#   scripts/memory_limited.sh LIMIT_BYTES -- COMMAND [ARGUMENT...]
# Exits with the command's code (137 where the kernel killed it), or with 77 where this user cannot limit memory here;
# the command is not run then. `--probe` in place of COMMAND only answers whether it would work.
set -uo pipefail

if [ $# -lt 3 ] || [ "$2" != "--" ] || ! [[ $1 =~ ^[0-9]+$ ]]; then
  echo "usage: scripts/memory_limited.sh LIMIT_BYTES -- COMMAND [ARGUMENT...] | --probe" >&2
  exit 2
fi
limit_bytes=$1
shift 2
if [ "$1" = "--probe" ]; then set -- true; fi

group=""
child=""
# The group is removed when its last process is gone; a killed process may take a moment to leave.
remove_group() {
  [ -n "$group" ] || return 0
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    rmdir "$group" 2>/dev/null && return 0
    sleep 0.1
  done
  echo "memory_limited.sh: cannot remove $group" >&2
}
trap remove_group EXIT
trap '[ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM INT

# The child moves itself into the group and then becomes the command, so that the command's first page is counted there.
run_in_group() {
  (
    echo "$BASHPID" >"$group/cgroup.procs" || exit 77
    exec "$@"
  ) &
  child=$!
  local code=0
  wait "$child" || code=$?
  # A signal to this script ends `wait` before the child has ended.
  while kill -0 "$child" 2>/dev/null; do wait "$child" || code=$?; done
  exit "$code"
}

# cgroup v1: a child of this process's own group, so that limits above it still hold.
own_group() { awk -F: -v controller="$1" '$2 == controller { print $3; exit }' /proc/self/cgroup; }
mount_of() { awk -v type="$1" -v option="$2" '$3 == type && (option == "" || $4 ~ "(^|,)" option "(,|$)") { print $2; exit }' /proc/mounts; }

try_v1() {
  local mount folder
  mount=$(mount_of cgroup memory)
  [ -n "$mount" ] || return 1
  folder=$mount$(own_group memory)
  [ -d "$folder" ] || folder=$mount  # in a container the path may be the host's
  group="${folder%/}/glint.$$"
  mkdir "$group" 2>/dev/null || { group=""; return 1; }
  echo "$limit_bytes" >"$group/memory.limit_in_bytes" || return 1
  # Without this, swap would hide what the limit should show. Absent where the kernel does not count swap.
  if [ -e "$group/memory.memsw.limit_in_bytes" ]; then echo "$limit_bytes" >"$group/memory.memsw.limit_in_bytes" || return 1; fi
}

# cgroup v2: groups with processes have no children with controllers, so the new group is a sibling of our own, or a
# child of the root, where that rule does not hold.
try_v2() {
  local mount own parent
  mount=$(mount_of cgroup2 "")
  [ -n "$mount" ] || return 1
  own=$(own_group "")
  for parent in "$mount$(dirname "${own:-/}")" "$mount"; do
    parent=${parent%/}
    grep -qw memory "$parent/cgroup.subtree_control" 2>/dev/null || continue
    group="$parent/glint.$$"
    mkdir "$group" 2>/dev/null || { group=""; continue; }
    if echo "$limit_bytes" 2>/dev/null >"$group/memory.max" && move_in_and_out; then
      if [ -e "$group/memory.swap.max" ]; then echo 0 >"$group/memory.swap.max"; fi
      return 0
    fi
    remove_group
    group=""
  done
  return 1
}

# A group that may be made may still refuse processes (delegation).
move_in_and_out() { (echo "$BASHPID" 2>/dev/null >"$group/cgroup.procs"); }

systemd_scope() {
  command -v systemd-run >/dev/null 2>&1 || return 1
  local user=(--user)
  [ "$(id -u)" -ne 0 ] || user=()
  local scope=(systemd-run ${user[@]+"${user[@]}"} --scope --quiet --collect -p "MemoryMax=$limit_bytes" -p MemorySwapMax=0 --)
  "${scope[@]}" true >/dev/null 2>&1 || return 1
  # A scope without the memory controller starts too; only its own memory.max shows that the limit holds.
  "${scope[@]}" sh -c 'test "$(cat "/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)/memory.max")" != max' \
    >/dev/null 2>&1 || return 1
  exec "${scope[@]}" "$@"
}

if try_v1 || try_v2; then run_in_group "$@"; fi
remove_group
group=""
systemd_scope "$@"
echo "memory_limited.sh: cannot make a memory cgroup here (needs root, or a systemd user session with cgroup v2)" >&2
exit 77
