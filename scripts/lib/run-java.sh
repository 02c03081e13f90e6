# shellcheck shell=bash
# Sourced by the scripts that start the command line.

# The JVM announces an incubator module on standard error; that one line is dropped, everything else passes untouched.
drop_incubator_line() {
  local line
  if IFS= read -r line; then
    case $line in
      'WARNING: Using incubator modules: jdk.incubator.vector') ;;
      *) printf '%s\n' "$line" ;;
    esac
  else
    printf '%s' "$line"
  fi
  cat
}

# run_java JAVA FLAG... -- ARGUMENT...: runs the JVM with the flags, then those of JAVA_OPTS, and the arguments; its exit
# code is the result.
run_java() {
  local java=$1 terminal=false flags=() java_opts status
  shift
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  shift
  read -r -a java_opts <<<"${JAVA_OPTS:-}"
  # behind the filter the JVM cannot see by itself whether a progress bar makes sense
  if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then
    terminal=true
  fi
  set +e
  {
    "$java" "-Dmoelora.terminal=$terminal" "${flags[@]}" ${java_opts[@]+"${java_opts[@]}"} "$@" 2>&1 >&3 3>&- |
      drop_incubator_line >&2 3>&-
    status=${PIPESTATUS[0]}
  } 3>&1
  set -e
  return "$status"
}
