# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the scripts whose steps take long: a step's output goes to a log, the user sees what
# is being done, how far it is and for how long.

STEP_LOG=
# Seconds between two progress lines.
STEP_EVERY=${OXBPF_PROGRESS:-15}

# step WHAT HOWFAR CMD...: runs CMD, its output in $STEP_LOG; prints a line when it starts to take
# long, every STEP_EVERY seconds, and at the end. HOWFAR is a command that prints how far it is, or -.
step() {
	local what=$1 far=$2 start=$SECONDS pid status=0 said=$SECONDS
	shift 2
	mkdir -p "$CACHE/log"
	STEP_LOG=$CACHE/log/$(echo "$what" | tr -c 'A-Za-z0-9.+\n' '-').log
	: >"$STEP_LOG"
	say "$what"
	# In a process group of its own, so that all of it can be ended when the user interrupts us.
	set -m
	"$@" >"$STEP_LOG" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -TERM -- -$pid 2>/dev/null; wait; die "interrupted: run the same again to go on"' INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ $((SECONDS - said)) -ge "$STEP_EVERY" ]; then
			said=$SECONDS
			say "  $what: $([ "$far" = - ] || "$far" 2>/dev/null), $((SECONDS - start)) s so far"
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM HUP
	[ $status != 0 ] || say "  done in $((SECONDS - start)) s"
	return $status
}

# The last line that a step printed.
last_line() {
	grep -v '^[[:space:]]*$' "$STEP_LOG" | tail -n 1
}
