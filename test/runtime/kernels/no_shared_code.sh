#!/bin/sh
# no_shared_code.sh NM OBJECT...: fails where an object made for one instruction set (*avx*) defines a weak function: the
# linker could take it for the whole program, which then would not run on a lesser CPU.
nm=$1
shift
looked=0
for object in "$@"; do
  case $object in *avx*) ;; *) continue ;; esac
  looked=$((looked + 1))
  if weak=$("$nm" -C "$object" | grep ' [Ww] [^ ]'  | grep -v '^ '); then
    echo "$object defines functions that the linker may share:"
    echo "$weak"
    exit 1
  fi
done
echo "looked at $looked objects"
[ "$looked" -eq 2 ]
